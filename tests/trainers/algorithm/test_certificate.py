"""The certificate of a stage: closed forms, the verdict on λ's history, and its JSON."""

from __future__ import annotations

import dataclasses
import doctest
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nmt.trainers.certificate
from nmt.trainers.certificate import Certificate, feasibility, gradient_norm, not_attainable, slackness, stationarity
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.records import Row, StageRecord
from tests.trainers._problems import (
    record,
    three_bowls,
    two_bowls,
)

nan = math.nan


def gradients(bowls: Callable[[Tensor], Tensor], *point: float) -> Tensor:
    """Return the gradient of every bowl, shape ``(bowls, parameters)``."""
    found = torch.func.jacrev(bowls)(torch.tensor(point, dtype=torch.float64))
    assert isinstance(found, Tensor)
    return found


class TestClosedForms:
    @pytest.mark.parametrize(
        ("bowls", "point", "multipliers"),
        [
            (two_bowls, (0.2, 2.0), (4.0,)),
            (two_bowls, (0.05, 2.0), (19.0,)),
            (three_bowls, (0.2, 0.0, 0.0), (4.0,)),
            (three_bowls, (0.2, 0.2, 3.0), (20.0, 4.0)),
        ],
    )
    def test_saddles_of_the_bowls_are_optimal(self, bowls: Any, point: Any, multipliers: Any) -> None:
        """ε = x², and in the third stage (x − 1)² + y² is 0.04 above its optimum 0.64."""
        price = torch.tensor(multipliers, dtype=torch.float64)
        rows = gradients(bowls, *point)
        objective, protected = rows[len(price)], rows[: len(price)]
        assert stationarity(objective, protected, price) < 1e-15
        assert gradient_norm(objective, protected, price) < 1e-13
        losses = bowls(torch.tensor(point, dtype=torch.float64)).tolist()
        for loss, optimum, price_of_it in zip(losses, (0.0, 0.64), multipliers, strict=False):
            tolerance = point[0] ** 2
            assert feasibility(loss, optimum, tolerance) < 1e-15
            assert slackness(price_of_it, loss, optimum, tolerance) < 1e-13

    def test_away_from_the_saddle(self) -> None:
        """At (1, 0) with λ = 2 the gradients are (2, 0) and (0, −4): ‖(4, −4)‖ over 4 + 2 · 2."""
        protected, objective = gradients(two_bowls, 1.0, 0.0)
        price = torch.tensor([2.0], dtype=torch.float64)
        assert gradient_norm(objective, protected[None], price) == pytest.approx(math.sqrt(32), rel=1e-15)
        assert stationarity(objective, protected[None], price) == pytest.approx(math.sqrt(0.5), rel=1e-15)
        assert feasibility(1.0, 0.0, 0.04) == pytest.approx(0.96, rel=1e-15)
        assert slackness(2.0, 1.0, 0.0, 0.04) == pytest.approx(1.92, rel=1e-15)

    def test_a_slack_constraint_with_a_positive_multiplier(self) -> None:
        assert feasibility(0.3, 0.5, 0.1) == 0.0
        assert slackness(2.0, 0.3, 0.5, 0.1) == pytest.approx(0.6, rel=1e-15)
        assert slackness(0.0, 0.3, 0.5, 0.1) == 0.0

    def test_without_constraints(self) -> None:
        """A single gradient is not balanced, unless it is 0."""
        nothing = torch.zeros(0, 2), torch.zeros(0)
        assert stationarity(torch.tensor([3.0, 4.0]), *nothing) == 1.0
        assert gradient_norm(torch.tensor([3.0, 4.0]), *nothing) == 5.0
        assert stationarity(torch.zeros(2), *nothing) == 0.0

    def test_scale_of_losses_and_parameters_does_not_matter(self) -> None:
        objective, protected = torch.randn(5), torch.randn(2, 5)
        price = torch.tensor([0.5, 3.0])
        value = stationarity(objective, protected, price)
        assert 0.0 < value < 1.0
        assert stationarity(1e3 * objective, 1e3 * protected, price) == pytest.approx(value, rel=1e-6)
        assert stationarity(objective, 1e3 * protected, price / 1e3) == pytest.approx(value, rel=1e-6)
        assert stationarity(objective, protected[[1, 0]], price[[1, 0]]) == pytest.approx(value, rel=1e-6)

    def test_non_finite_values_are_kept(self) -> None:
        """An unknown number must not look like an optimum."""
        assert math.isnan(feasibility(nan, 0.5, 0.1))
        assert math.isnan(slackness(1.0, nan, 0.5, 0.1))
        assert math.isnan(slackness(nan, 0.5, 0.5, 0.1))
        one = torch.ones(1, 2)
        assert math.isnan(stationarity(torch.tensor([nan, 1.0]), one, torch.tensor([1.0])))
        assert math.isnan(stationarity(torch.ones(2), one, torch.tensor([nan])))

    def test_examples_of_the_docstrings(self) -> None:
        assert doctest.testmod(nmt.trainers.certificate).failed == 0
        assert doctest.testmod(nmt.trainers.certificate).attempted > 0


Trajectory = tuple[list[str], list[int], list[list[float]], list[list[float]]]


def descent(
    losses: Callable[[Tensor], Tensor], optima: list[float], *start: float, steps: int = 600, noise: float = 0.0,
    tolerance: float = 0.0, eta_theta: float = 0.1, eta_lambda: float = 1.0, seed: int = 0,
) -> Trajectory:  # fmt: skip
    """Run No More Tuning on a function, with noise in the losses that λ sees, and return the rows of its history."""
    draw = torch.Generator().manual_seed(seed)
    theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    multipliers = Multipliers(optima, eta_lambda, tolerance)
    values, violations = [], []
    for _ in range(steps):
        found = losses(theta)
        (gradient,) = torch.autograd.grad(multipliers.combine(found), theta)
        seen = found.detach() + noise * torch.randn(len(found), generator=draw, dtype=torch.float64)
        with torch.no_grad():
            theta -= eta_theta * gradient
            violations.append(multipliers.violations(seen).tolist())
            multipliers.ascend(seen)
        values.append(multipliers.values.tolist())
    return [str(i) for i in range(len(optima))], list(range(1, steps + 1)), values, violations


def opposed(theta: Tensor) -> Tensor:
    """Return the losses of two protected tasks that cannot both be 0, and of a third task."""
    x, y = theta
    return torch.stack([(x - 1) ** 2, (x + 1) ** 2, (y - 1) ** 2])


class TestNotAttainable:
    def test_an_infeasible_optimum(self) -> None:
        """x² ≤ −0.5: λ grows without bound, and the violation stays at 0.5."""
        assert not_attainable(*descent(two_bowls, [-0.5], 0.0, 0.0)) == ("0",)

    def test_two_incompatible_tasks(self) -> None:
        assert not_attainable(*descent(opposed, [0.0, 0.0], 0.0, 0.0)) == ("0", "1")

    def test_a_constraint_with_tolerance_is_met(self) -> None:
        rows = descent(two_bowls, [0.0], 0.0, 0.0, tolerance=0.04)
        assert rows[2][-1] == pytest.approx([4.0], abs=0.05)
        assert not_attainable(*rows) == ()

    @pytest.mark.parametrize("steps", [200, 600, 2000])
    def test_without_tolerance_a_rising_multiplier_alone_is_no_verdict(self, steps: int) -> None:
        """λ grows like (1 + 3 η_λ t)^{1/3} − 1, and the violation shrinks throughout."""
        rows = descent(two_bowls, [0.0], 0.0, 0.0, steps=steps)
        assert rows[2][-1][0] > 1.1 * rows[2][2 * steps // 3][0]
        assert not_attainable(*rows) == ()

    def test_a_multiplier_that_hardly_moves_is_no_verdict(self) -> None:
        """A higher η_λ would bring the task back: the optimum is attainable."""
        rows = descent(two_bowls, [0.0], 0.5, 2.0, eta_lambda=1e-5)
        assert rows[2][-1] > rows[2][-200]
        assert rows[3][-1] == pytest.approx(rows[3][-200], rel=1e-2)
        assert not_attainable(*rows) == ()

    def test_a_task_that_is_better_than_its_optimum(self) -> None:
        assert not_attainable(*descent(two_bowls, [10.0], 0.0, 0.0)) == ()

    @pytest.mark.parametrize("seed", range(5))
    def test_noise_of_the_minibatches(self, seed: int) -> None:
        """Noise below the violation changes nothing; a violation that is lost in the noise gets no verdict."""
        assert not_attainable(*descent(two_bowls, [-0.5], 0.0, 0.0, noise=0.1, seed=seed)) == ("0",)
        assert not_attainable(*descent(two_bowls, [0.0], 0.0, 0.0, noise=0.02, seed=seed)) == ()
        assert not_attainable(*descent(two_bowls, [0.0], 0.0, 0.0, noise=1.0, seed=seed)) == ()

    def test_too_few_rows(self) -> None:
        names, _, multipliers, violations = descent(two_bowls, [-0.5], 0.0, 0.0, steps=40)
        found = {
            count: not_attainable(names, list(range(1, count + 1)), multipliers[:count], violations[:count])
            for count in (0, 1, 2, 33, 34)
        }
        assert found == {0: (), 1: (), 2: (), 33: (), 34: ("0",)}

    def test_nothing_protected(self) -> None:
        assert not_attainable([], [1, 2, 3], [[], [], []], [[], [], []]) == ()

    def test_nan_is_no_verdict(self) -> None:
        names, steps, multipliers, violations = descent(opposed, [0.0, 0.0], 0.0, 0.0)
        violations[-3][0] = nan
        assert not_attainable(names, steps, multipliers, violations) == ("1",)
        multipliers[-1][1] = nan
        assert not_attainable(names, steps, multipliers, violations) == ()


CERTIFICATE = Certificate({"first": 0.0}, {"first": 0.5}, {"first": 2.5}, 0.125, 0.25, ("first",), 64, 0)


class TestRecord:
    def test_round_trip(self) -> None:
        full = record(certificate=CERTIFICATE)
        assert StageRecord.from_json(full.to_json()) == full
        empty = Certificate({}, {}, {}, 1.0, 0.25, (), 64)
        assert StageRecord.from_json(record(certificate=empty).to_json()).certificate == empty

    def test_non_finite_numbers(self) -> None:
        lost = dataclasses.replace(CERTIFICATE, stationarity=nan, slackness={"first": math.inf})
        text = record(certificate=lost).to_json()
        assert "NaN" not in text
        assert "Infinity" not in text
        read = StageRecord.from_json(text).certificate
        assert read is not None
        assert math.isnan(read.stationarity)
        assert math.isnan(read.slackness["first"])
        assert read.not_attainable == ("first",)

    def test_a_record_without_a_certificate(self) -> None:
        assert StageRecord.from_json(record().to_json()).certificate is None


def test_the_verdict_reads_the_rows_of_a_record() -> None:
    """A stage whose λ rises while its violation stays, read back from a record's rows."""
    names, steps, multipliers, violations = descent(opposed, [0.0, 0.0], 0.0, 0.0, steps=60)
    rows = tuple(
        Row(step, {}, dict(zip(names, violation, strict=True)), dict(zip(names, price, strict=True)))
        for step, price, violation in zip(steps, multipliers, violations, strict=True)
    )
    read = StageRecord.from_json(record(rows=rows).to_json()).rows
    again = [[list(part.values()) for part in (row.multipliers, row.violations)] for row in read]
    assert not_attainable(names, [row.step for row in read], *zip(*again, strict=True)) == ("0", "1")
