from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nmt.trainers.models.mmoe import MMoE
from nmt.trainers.models.omoe import OMoE
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
    weighted,
)

SMALL: dict[str, Any] = {"embedding_dim": 1, "expert_units": (8, 6), "gate_units": (4,), "tower_units": (5,)}


class TestOMoE(MultiTaskModel):
    name = "omoe"
    options: ClassVar[dict[str, Any]] = {"experts": 3, "expert_units": [8, 6], "gate_units": [4], "tower_units": [5]}
    variants: ClassVar[list[dict[str, Any]]] = [{}, {"gate_units": []}, {"experts": 1}]
    more = ({"experts": 2}, {"experts": 9})


def test_forward_pass_against_loops() -> None:
    model, batch = OMoE(SCHEMA, some_tasks(2), experts=3, **SMALL).double(), some_rows(9, 2)
    features = model.features(batch)
    weights = gate(model.gates, 0, features)
    state = sum(weights[:, e : e + 1] * perceptron(model.experts, e, features) for e in range(3))
    assert isinstance(state, Tensor)
    for i, output in enumerate(model(batch).values()):
        torch.testing.assert_close(output, perceptron(model.towers, i, state)[:, 0])


def test_is_mmoe_with_tied_gates() -> None:
    """The outputs are equal, and the gradient of the single gate is the sum over the tied gates."""
    one = OMoE(SCHEMA, some_tasks(2), experts=3, **SMALL).double()
    tied = MMoE(SCHEMA, some_tasks(2), experts=3, **SMALL).double()

    def untied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value.expand(2, -1, -1) if name.startswith("gates.") else value for name, value in parameters.items()
        }

    tied.load_state_dict(untied(one.state_dict()))
    batch = some_rows(13, 2)
    for a, b in zip(one(batch).values(), tied(batch).values(), strict=True):
        torch.testing.assert_close(a, b)
    expected = gradients(tied, weighted(tied(batch)))
    for name, gradient in gradients(one, weighted(one(batch))).items():
        if name.startswith("gates."):
            of_gates = expected[name]
            torch.testing.assert_close(gradient, of_gates.sum(0, keepdim=True))
            assert not torch.allclose(of_gates[0], of_gates[1])
        else:
            torch.testing.assert_close(gradient, expected[name])


def test_with_one_task_is_mmoe() -> None:
    models = (kind(SCHEMA, some_tasks(1), experts=3, **SMALL).double() for kind in (MMoE, OMoE))
    assert_same_function(*models, dict)


def test_parameter_count() -> None:
    model = OMoE(SCHEMA, some_tasks(2), experts=3, **SMALL)
    expert = WIDTH * 8 + 8 + 8 * 6 + 6
    gates = WIDTH * 4 + 4 + 4 * 3 + 3
    tower = 6 * 5 + 5 + 5 * 1 + 1
    expected = (7 + 5) + 3 * expert + gates + 2 * tower
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_sizes_of_the_paper() -> None:
    shapes = {name: tuple(value.shape) for name, value in OMoE(SCHEMA, some_tasks(2)).named_parameters()}
    assert shapes["features.embedding.weight"] == (12, 16)
    assert [shapes[f"experts.weights.{i}"] for i in range(3)] == [(8, 41, 512), (8, 512, 512), (8, 512, 512)]
    assert [shapes[f"gates.weights.{i}"] for i in range(3)] == [(1, 41, 128), (1, 128, 64), (1, 64, 8)]
    assert [shapes[f"towers.weights.{i}"] for i in range(3)] == [(2, 512, 128), (2, 128, 64), (2, 64, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 0}, "experts must be a whole number of at least 1, found 0"),
        ({"expert_units": []}, r"expert_units must list widths of layers, 1 or more, .* found \[\]"),
        ({"gate_units": [2.5]}, r"gate_units must list .* found \[2\.5\]"),
        ({"tower_units": [-1]}, r"tower_units must list .* found \[-1\]"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OMoE(SCHEMA, some_tasks(2), **options)
