"""Batched perceptrons, gates and mixtures against single ones."""

from __future__ import annotations

import pytest
import torch

from nmt.trainers.models.gates import Gates
from nmt.trainers.models.mixture import mixture
from nmt.trainers.models.perceptrons import Perceptrons
from nmt.trainers.models.sizes import check_size, check_units
from nmt.trainers.models.towers import Towers
from tests.trainers._asserts import assert_close
from tests.trainers._models import gate, perceptron


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("shape", [(7, 4), (3, 7, 4), (0, 4), (3, 0, 4)])
def test_each_equals_a_single_perceptron(shape: tuple[int, ...], outputs: int | None) -> None:
    parts, inputs = Perceptrons(3, 4, (6, 5), outputs), torch.randn(shape)
    expected = [perceptron(parts, i, inputs if len(shape) == 2 else inputs[i]) for i in range(3)]
    found = parts(inputs)
    assert found.shape == (3, shape[-2], outputs or 5)
    assert_close(found, torch.stack(expected), 1e-6)
    if 0 not in shape:
        assert bool((found < 0).any()) == (outputs is not None)


def test_perceptrons_have_no_gradient_from_each_other() -> None:
    parts = Perceptrons(2, 4, (16,))
    parts(torch.randn(7, 4))[0].sum().backward()
    for parameter in parts.parameters():
        assert parameter.grad is not None
        assert [bool(part.any()) for part in parameter.grad] == [True, False]


def test_initialised_like_linear_layers() -> None:
    parts = Perceptrons(50, 16, (25,), 9)
    for value, fan_in in ((parts.weights[0], 16), (parts.biases[0], 16), (parts.weights[1], 25), (parts.biases[1], 25)):
        bound = fan_in**-0.5
        largest = float(value.detach().abs().max())
        assert 0.95 * bound < largest <= bound
        assert len({round(float(part.sum()), 4) for part in value.detach()}) > 40  # independent draws


def test_towers_end_in_one_logit() -> None:
    towers, inputs = Towers(3, 4, (6, 5)), torch.randn(7, 4)
    expected = torch.stack([perceptron(towers, i, inputs)[:, 0] for i in range(3)])
    assert_close(towers(inputs), expected, 1e-6)


@pytest.mark.parametrize("units", [(), (6,), (6, 5)])
def test_gates_are_softmax_over_experts(units: tuple[int, ...]) -> None:
    gates, inputs = Gates(3, 4, units, 5), 10 * torch.randn(7, 4)
    weights = gates(inputs)
    assert weights.shape == (3, 7, 5)
    assert bool((weights >= 0).all())
    assert_close(weights.sum(2), torch.ones(3, 7), 1e-6)
    assert_close(weights, torch.stack([gate(gates, i, inputs) for i in range(3)]), 1e-6)


def test_mixture() -> None:
    weights, experts = torch.rand(2, 7, 3), torch.randn(3, 7, 5)
    expected = torch.zeros(2, 7, 5)
    for task in range(2):
        for row in range(7):
            for expert in range(3):
                expected[task, row] += weights[task, row, expert] * experts[expert, row]
    assert_close(mixture(weights, experts), expected, 1e-6)


class TestSizes:
    @pytest.mark.parametrize(("size", "least"), [(1, 1), (8, 1), (0, 0)])
    def test_sizes(self, size: int, least: int) -> None:
        check_size("experts", size, least)

    @pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None, [3]])
    def test_wrong_sizes(self, size: object) -> None:
        with pytest.raises(ValueError, match=r"^experts must be a whole number of at least 1, found "):
            check_size("experts", size)  # type: ignore[arg-type]

    def test_units(self) -> None:
        check_units("units", [])
        check_units("units", (3, 2), layers=2)

    @pytest.mark.parametrize("units", [[0], [8, -1], [2.5], ["8"], "88", 8, None, {"a": 8}, [True]])
    def test_wrong_units(self, units: object) -> None:
        with pytest.raises(ValueError, match=r"^units must list widths of layers as whole numbers of at least 1, "):
            check_units("units", units)  # type: ignore[arg-type]

    def test_too_few_layers(self) -> None:
        with pytest.raises(ValueError, match=r"^units must list widths of layers, 1 or more, as .*, found \[\]"):
            check_units("units", [], layers=1)
