"""Properties for any losses, multipliers and tasks."""

from __future__ import annotations

import io
import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nmt import Multipliers
from tests.trainers._asserts import assert_close, assert_convex, assert_identical
from tests.trainers._cases import (
    ROUNDING,
    Case,
    cases,
    deterministic,
    factors,
    weights_of,
)


class TestWeights:
    @deterministic
    @given(st.lists(st.one_of(st.floats(0, 1e300), factors, st.just(0.0)), max_size=8))
    def test_are_convex_and_in_proportion(self, initial: list[float]) -> None:
        """From λ below the smallest normal number to 1e300, together: Σ w = 1, 0 ≤ w ≤ 1, and w_i = λ_i w_k."""
        weights = Multipliers([1.0] * len(initial), rate=1.0, initial=initial).weights()
        assert weights.shape == (len(initial) + 1,)
        assert_convex(weights)
        assert bool((weights <= 1).all())
        total = math.fsum([*initial, 1.0])
        for value, weight in zip(initial, weights[:-1].tolist(), strict=True):
            assert weight * total == pytest.approx(value, rel=1e-12, abs=1e-323 * total)

    @deterministic
    @given(cases())
    def test_are_what_backward_applies_after_any_ascents(self, case: Case) -> None:
        multipliers = case.multipliers()
        for row in case.rows():
            multipliers.ascend(row)
            weights = multipliers.weights()
            assert_convex(weights)
            assert torch.equal(
                weights_of(multipliers, row), torch.cat([weights, weights[-1:].repeat(case.objectives - 1)])
            )


class TestAscents:
    @deterministic
    @given(cases(), st.lists(st.sampled_from(["means", "counts", "violations"]), min_size=6, max_size=6))
    def test_are_projected_steps_and_never_negative(self, case: Case, ways: list[str]) -> None:
        """For every form of the losses λ is max(0, λ + η_λ v), computed by hand, and so at least 0."""
        multipliers = case.multipliers()
        expected = case.initial
        for row, way in zip(case.rows(), ways, strict=False):
            if way == "means":
                multipliers.ascend(row)
            elif way == "counts":
                multipliers.ascend(4 * row, torch.full(row.shape, 4))
            else:
                multipliers.ascend_by(multipliers.violations(row))
            violations = [
                (loss - optimum - tolerance) / (abs(optimum) if case.violation == "relative" else 1.0)
                for loss, optimum, tolerance in zip(row.tolist(), case.optima, case.tolerance, strict=False)
            ]
            moved = [value + case.rate * v for value, v in zip(expected, violations, strict=True)]
            scale = max([1.0, *expected, *map(abs, moved)])
            expected = [max(0.0, value) for value in moved]
            assert bool((multipliers.values >= 0).all())
            assert_close(multipliers.values, expected, 1e-11 * scale)


class TestOrder:
    @deterministic
    @given(cases(), st.randoms(use_true_random=False))
    def test_of_protected_tasks_permutes_the_multipliers_and_nothing_else(self, case: Case, random: Random) -> None:
        order = list(range(len(case.optima)))
        random.shuffle(order)
        columns = [*order, *range(len(order), len(order) + case.objectives)]
        plain, permuted = case.multipliers(), case.multipliers(order)
        for row in case.rows():
            assert_close(permuted.combine(row[columns]), float(plain.combine(row)), ROUNDING)
            assert_close(weights_of(permuted, row[columns]), weights_of(plain, row)[columns], 1e-12)
            plain.ascend(row)
            permuted.ascend(row[columns])
            assert torch.equal(permuted.values, plain.values[order])

    @deterministic
    @given(cases(), st.randoms(use_true_random=False))
    def test_of_equal_priority_changes_nothing(self, case: Case, random: Random) -> None:
        """Tasks of the objective's level can be permuted."""
        protected = len(case.optima)
        objectives = list(range(protected, protected + case.objectives))
        random.shuffle(objectives)
        columns = [*range(protected), *objectives]
        plain, permuted = case.multipliers(), case.multipliers()
        for row in case.rows():
            assert_close(permuted.combine(row[columns]), float(plain.combine(row)), ROUNDING)
            assert torch.equal(weights_of(permuted, row[columns]), weights_of(plain, row))
            plain.ascend(row)
            permuted.ascend(row[columns])
            assert torch.equal(permuted.values, plain.values)


class TestState:
    @deterministic
    @given(cases(), st.lists(st.text(max_size=8), min_size=5, max_size=5, unique=True))
    def test_round_trip(self, case: Case, names: list[str]) -> None:
        """Loaded from a file into other multipliers, the state and all later steps are the same."""

        def fresh(optima: list[float], tolerance: list[float], initial: list[float]) -> Multipliers:
            named = names[: len(optima)]
            return Multipliers(optima, case.rate, tolerance, initial, names=named, violation=case.violation)

        first = fresh(case.optima, case.tolerance, case.initial)
        rows = case.rows()
        first.ascend(rows[0])
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second = fresh(*([other] * len(case.optima) for other in (7.0, 8.0, 9.0)))
        second.load_state_dict(torch.load(buffer, weights_only=True))
        for row in rows:
            assert_identical(dict(first.named_buffers()), dict(second.named_buffers()))
            assert torch.equal(first.combine(row), second.combine(row))
            first.ascend(row)
            second.ascend(row)
        assert_identical(dict(first.named_buffers()), dict(second.named_buffers()))
        assert second.get_extra_state() == {"names": names[: len(case.optima)]}


class TestNoise:
    r"""The projection at 0 turns the noise of minibatches into multipliers; pairing takes most of it out.

    A limit is slack by δ: a minibatch's violation is :math:`X` with mean −δ, independent at each step, and
    :math:`\lambda \leftarrow \max(0, \lambda + \eta X)` is the waiting time of a queue. With :math:`l = \max(0,
    -(\lambda + \eta X))`, the increment of the projection, stationary moments of :math:`\lambda' = \lambda + \eta X +
    l` give :math:`E\,l = \eta\delta` and, as :math:`\lambda' l = 0`, :math:`E\,\lambda = (\eta^2 E X^2 - E\,l^2) /
    (2 \eta \delta)`. Since :math:`(E\,l)^2 \le E\,l^2 \le \eta^2 E(X^-)^2`,

    .. math:: \frac{\eta\, E (X^+)^2}{2 \delta} \;\le\; E \lambda \;\le\; \frac{\eta \operatorname{Var} X}{2 \delta},

    where the upper bound is Kingman's. For violations of the same mean, the ratio of the unpaired to the paired
    :math:`E\,\lambda` is therefore at least :math:`E (X_\text{unpaired}^+)^2 / \operatorname{Var} X_\text{paired}`.

    Here a label is 1 with probability π, θ* predicts π and θ predicts p; a minibatch has B = 8 samples, K of them 1.
    Both violations are linear in K, a binomial number, so all moments are exact.
    """

    PI, P, B, RATE, SLACK = 0.3, 0.33, 8, 0.1, 0.02
    CHAINS, STEPS, BURN_IN = 200, 2500, 500

    @staticmethod
    def loss(prediction: float, ones: Tensor, size: int) -> Tensor:
        """Return the mean cross-entropy of a minibatch."""
        return -(ones * math.log(prediction) + (size - ones) * math.log(1 - prediction)) / size

    def moments(self, violations: Tensor) -> tuple[float, float]:
        """Return E (X⁺)² and Var X, from the values of X at K = 0 … B."""
        probability = torch.tensor(
            [math.comb(self.B, k) * self.PI**k * (1 - self.PI) ** (self.B - k) for k in range(self.B + 1)]
        ).double()
        mean = float(probability @ violations)
        assert mean == pytest.approx(-self.SLACK, abs=1e-6)
        return float(probability @ violations.clamp(min=0) ** 2), float(probability @ (violations - mean) ** 2)

    def test_pairing_removes_the_bias(self) -> None:
        """200 independent chains, simulated as 200 protected tasks."""
        ones = torch.arange(self.B + 1).double()
        optimum = -self.PI * math.log(self.PI) - (1 - self.PI) * math.log(1 - self.PI)
        level = -self.PI * math.log(self.P) - (1 - self.PI) * math.log(1 - self.P)
        tolerance = level - optimum + self.SLACK

        def fresh(count: int) -> Multipliers:
            return Multipliers([optimum] * count, self.RATE, tolerance, initial=0.0)

        now, reference = self.loss(self.P, ones, self.B), self.loss(self.PI, ones, self.B)
        positive, variance = self.moments(fresh(self.B + 1).violations(now))
        _, paired_variance = self.moments(fresh(self.B + 1).paired_violations(now - reference))
        factor = positive / paired_variance
        assert factor > 5

        unpaired, paired = fresh(self.CHAINS), fresh(self.CHAINS)
        generator = torch.Generator().manual_seed(0)
        labels = torch.rand(self.STEPS, self.CHAINS, self.B, generator=generator, dtype=torch.float64) < self.PI
        means = torch.zeros(2, dtype=torch.float64)
        objective = torch.zeros(1, dtype=torch.float64)
        for step, drawn in enumerate(labels.sum(2).double()):
            minibatch = self.loss(self.P, drawn, self.B)
            unpaired.ascend(torch.cat([minibatch, objective]))
            paired.ascend_by(paired.paired_violations(minibatch - self.loss(self.PI, drawn, self.B)))
            if step >= self.BURN_IN:
                means += torch.stack([unpaired.values.mean(), paired.values.mean()]) / (self.STEPS - self.BURN_IN)
        of_unpaired, of_paired = means.tolist()

        scale = self.RATE / (2 * self.SLACK)
        assert of_unpaired >= factor * of_paired
        assert scale * positive <= of_unpaired <= scale * variance
        assert of_paired <= scale * paired_variance
