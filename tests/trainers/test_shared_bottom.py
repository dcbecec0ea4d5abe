"""Towers as batched products are the perceptrons that they stand for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.trainers._problems import binary, rows_batch
from trainers.data.schema import Numeric, Schema
from trainers.models.shared_bottom import SharedBottom
from trainers.models.towers import Towers

SCHEMA = Schema(categorical={"user": 5}, numeric={"age": Numeric(1.0, 2.0)}, labels={"a": 2, "b": 2})
TASKS = (binary("a"), binary("b"))


def one_by_one(towers: Towers, inputs: Tensor) -> Tensor:
    """Each tower as a person would write it."""
    outputs = []
    for tower in range(towers.weights[0].shape[0]):
        hidden = inputs if inputs.dim() == 2 else inputs[tower]
        for weight, bias in zip(towers.weights, towers.biases, strict=True):
            product = functional.linear(hidden, weight[tower].T, bias[tower, 0])
            hidden = product if weight is towers.weights[-1] else functional.relu(product)
        outputs.append(hidden[:, 0])
    return torch.stack(outputs)


def test_towers_are_perceptrons() -> None:
    towers = Towers(3, 4, (6, 5))
    for inputs in (torch.randn(7, 4), torch.randn(3, 7, 4)):
        torch.testing.assert_close(towers(inputs), one_by_one(towers, inputs))


def test_a_tower_gets_no_gradient_from_another_task() -> None:
    towers = Towers(2, 4, (6,))
    towers(torch.randn(7, 4))[0].sum().backward()
    for parameter in towers.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].abs().sum() > 0
        assert parameter.grad[1].abs().sum() == 0


def test_number_of_parameters_by_hand() -> None:
    model = SharedBottom(SCHEMA, TASKS, embedding_dim=3, bottom_units=(8, 6), tower_units=(4,))
    embedding = 5 * 3
    bottom = (3 + 1) * 8 + 8 + 8 * 6 + 6
    tower = 6 * 4 + 4 + 4 * 1 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == embedding + bottom + 2 * tower


def test_one_logit_per_row_and_task() -> None:
    model = SharedBottom(SCHEMA, TASKS)
    batch = rows_batch(torch.zeros(9, 2), categorical=torch.randint(0, 5, (9, 1)), numeric=torch.randn(9, 1))
    outputs = model(batch)
    assert list(outputs) == ["a", "b"]
    assert all(output.shape == (9,) for output in outputs.values())
    assert not torch.equal(outputs["a"], outputs["b"])
