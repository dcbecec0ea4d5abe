from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nmt.trainers.models.mmoe import MMoE
from nmt.trainers.models.shared_bottom import SharedBottom
from tests.trainers._models import (
    SCHEMA,
    WIDTH,
    MultiTaskModel,
    assert_same_function,
    gate,
    gradients,
    perceptron,
    some_rows,
    some_tasks,
)

SMALL: dict[str, Any] = {"embedding_dim": 1, "expert_units": (8, 6), "gate_units": (4,), "tower_units": (5,)}


class TestMMoE(MultiTaskModel):
    name = "mmoe"
    options: ClassVar[dict[str, Any]] = {"experts": 3, "expert_units": [8, 6], "gate_units": [4], "tower_units": [5]}
    variants: ClassVar[list[dict[str, Any]]] = [{}, {"gate_units": []}, {"experts": 1}]
    more = ({"experts": 2}, {"experts": 9})


def test_forward_pass_against_loops() -> None:
    model, batch = MMoE(SCHEMA, some_tasks(3), experts=4, **SMALL).double(), some_rows(9, 3)
    features = model.features(batch)
    for i, output in enumerate(model(batch).values()):
        weights = gate(model.gates, i, features)
        state = sum(weights[:, e : e + 1] * perceptron(model.experts, e, features) for e in range(4))
        assert isinstance(state, Tensor)
        torch.testing.assert_close(output, perceptron(model.towers, i, state)[:, 0])


def bottom_as_expert(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a two-layer Shared-Bottom with the names and shapes of MMoE."""
    renamed = dict(parameters)
    for layer in range(2):
        renamed[f"experts.weights.{layer}"] = renamed.pop(f"bottom.{2 * layer}.weight").T.unsqueeze(0)
        renamed[f"experts.biases.{layer}"] = renamed.pop(f"bottom.{2 * layer}.bias").reshape(1, 1, -1)
    return renamed


def test_with_one_expert_is_shared_bottom() -> None:
    model = MMoE(SCHEMA, some_tasks(2), experts=1, **SMALL).double()
    bottom = SharedBottom(SCHEMA, some_tasks(2), embedding_dim=1, bottom_units=(8, 6), tower_units=(5,)).double()
    assert_same_function(model, bottom, bottom_as_expert)
    batch = some_rows(9, 2)
    for name, gradient in gradients(model, model(batch)["task_0"].sum()).items():
        assert bool(gradient.any()) != name.startswith("gates."), name  # the only weight is 1 for any gate


def test_a_gate_has_no_gradient_from_another_task() -> None:
    model = MMoE(SCHEMA, some_tasks(3), experts=4, **SMALL)
    found = gradients(model, model(some_rows(9, 3))["task_1"].sum())
    for name, gradient in found.items():
        if name.startswith("gates."):
            assert [bool(part.any()) for part in gradient] == [False, True, False]
        if name.startswith("experts."):
            assert all(bool(part.any()) for part in gradient)


def test_parameter_count() -> None:
    model = MMoE(SCHEMA, some_tasks(2), experts=3, **SMALL)
    expert = WIDTH * 8 + 8 + 8 * 6 + 6
    of_task = (WIDTH * 4 + 4 + 4 * 3 + 3) + (6 * 5 + 5 + 5 * 1 + 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == (7 + 5) + 3 * expert + 2 * of_task


def test_sizes_of_the_paper() -> None:
    shapes = {name: tuple(value.shape) for name, value in MMoE(SCHEMA, some_tasks(2)).named_parameters()}
    assert shapes["features.embedding.weight"] == (12, 16)
    assert [shapes[f"experts.weights.{i}"] for i in range(3)] == [(8, 41, 512), (8, 512, 512), (8, 512, 512)]
    assert [shapes[f"gates.weights.{i}"] for i in range(3)] == [(2, 41, 128), (2, 128, 64), (2, 64, 8)]
    assert [shapes[f"towers.weights.{i}"] for i in range(3)] == [(2, 512, 128), (2, 128, 64), (2, 64, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": "4"}, "experts must be a whole number of at least 1, found '4'"),
        ({"expert_units": []}, r"expert_units must list widths of layers, 1 or more, .* found \[\]"),
        ({"gate_units": 64}, "gate_units must list .* found 64"),
        ({"tower_units": [0]}, r"tower_units must list .* found \[0\]"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MMoE(SCHEMA, some_tasks(2), **options)
