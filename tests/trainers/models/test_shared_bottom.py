from __future__ import annotations

from typing import Any, ClassVar

import pytest

from nmt.trainers.models.shared_bottom import SharedBottom
from tests.trainers._models import SCHEMA, WIDTH, MultiTaskModel, some_tasks


class TestSharedBottom(MultiTaskModel):
    name = "shared_bottom"
    options: ClassVar[dict[str, Any]] = {"bottom_units": [8, 6], "tower_units": [5]}
    variants: ClassVar[list[dict[str, Any]]] = [{}, {"bottom_units": []}, {"tower_units": []}]


def test_parameter_count() -> None:
    model = SharedBottom(SCHEMA, some_tasks(2), embedding_dim=1, bottom_units=(8, 6), tower_units=(4,))
    embedding = 7 + 5
    bottom = WIDTH * 8 + 8 + 8 * 6 + 6
    tower = 6 * 4 + 4 + 4 * 1 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == embedding + bottom + 2 * tower


def test_sizes_of_the_paper() -> None:
    shapes = {name: tuple(value.shape) for name, value in SharedBottom(SCHEMA, some_tasks(2)).named_parameters()}
    assert shapes["features.embedding.weight"] == (12, 16)
    assert [shapes[f"bottom.{i}.weight"] for i in (0, 2, 4)] == [(512, 41), (512, 512), (512, 512)]
    assert [shapes[f"towers.weights.{i}"] for i in range(3)] == [(2, 512, 128), (2, 128, 64), (2, 64, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottom_units": [0]}, r"bottom_units must list .* found \[0\]"),
        ({"tower_units": 8}, "tower_units must list .* found 8"),
        ({"embedding_dim": "16"}, "embedding_dim must be a whole number of at least 1, found '16'"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SharedBottom(SCHEMA, some_tasks(2), **options)
