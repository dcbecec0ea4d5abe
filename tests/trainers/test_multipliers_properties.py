"""What holds for any losses, multipliers, tasks and workers."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainers._asserts import assert_close, assert_convex, assert_identical
from tests.trainers._descent import descend
from tests.trainers._problems import two_bowls
from trainers import Multipliers
from trainers.multipliers import Violation

T = TypeVar("T")

deterministic = settings(deadline=None, derandomize=True, max_examples=60)
few = settings(deterministic, max_examples=20)

violation_kinds: st.SearchStrategy[Violation] = st.sampled_from(["absolute", "relative"])
LARGEST = 1e4
"""Largest loss; differences and weighted sums of losses are exact to about 1e-16 of it."""
ROUNDING = 1e-12 * LARGEST

losses = st.floats(-LARGEST, LARGEST)
factors = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)


@dataclass(frozen=True)
class Case:
    """Arguments of multipliers, as lists, and losses of some steps.

    Attributes:
        optima: L*, one per protected task; none is 0.
        tolerance: ε, one each.
        initial: λ_0, one each.
        rate: η_λ.
        violation: Kind of violation.
        objectives: Tasks of the objective's level.
        losses: One row per step, protected tasks first.
    """

    optima: list[float]
    tolerance: list[float]
    initial: list[float]
    rate: float
    violation: Violation
    objectives: int
    losses: list[list[float]]

    def multipliers(self, order: Sequence[int] | None = None) -> Multipliers:
        """Of the protected tasks in another order."""
        order = range(len(self.optima)) if order is None else order
        return Multipliers(
            [self.optima[i] for i in order],
            rate=self.rate,
            tolerance=[self.tolerance[i] for i in order],
            initial=[self.initial[i] for i in order],
            names=[f"task {i}" for i in order],
            violation=self.violation,
        )

    def rows(self) -> Tensor:
        return torch.tensor(self.losses, dtype=torch.float64)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    protected, objectives = draw(st.integers(0, 5)), draw(st.integers(1, 4))
    some, positive = st.floats(1e-3, 1e3), st.floats(0, 1e3)
    row = st.lists(losses, min_size=protected + objectives, max_size=protected + objectives)
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=protected, max_size=protected))
    return Case(
        optima=[sign * draw(some) for sign in signs],
        tolerance=[draw(positive) for _ in signs],
        initial=[draw(positive) for _ in signs],
        rate=draw(some),
        violation=draw(violation_kinds),
        objectives=objectives,
        losses=draw(st.lists(row, min_size=1, max_size=6)),
    )


def weights_of(multipliers: Multipliers, row: Tensor) -> Tensor:
    """∂ combine / ∂ losses: the weights as backward applies them."""
    leaf = row.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(multipliers.combine(leaf), leaf)
    return gradient


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
        """Whichever way the losses come, λ is the hand-written max(0, λ + η_λ v), so at least 0."""
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
        """The tasks of the objective's level."""
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


CURVATURES = torch.tensor([[1.0, 3.0, 0.5], [2.0, 0.3, 1.0], [0.4, 1.0, 2.0]], dtype=torch.float64)
CENTRES = torch.tensor([[0.0, 0.0, 0.0], [0.5, -0.3, 0.2], [3.0, 2.0, -4.0]], dtype=torch.float64)
FLOORS = torch.tensor([0.3, 0.8, 0.1], dtype=torch.float64)
TOLERANCES = torch.tensor([0.02, 0.05], dtype=torch.float64)


def valleys(theta: Tensor) -> Tensor:
    """Two protected tasks and an objective, whose optima are not 0."""
    return FLOORS + (CURVATURES * (theta - CENTRES).square()).sum(1)


class Step(NamedTuple):
    """What a step starts from: θ, λ, the scalar of :meth:`Multipliers.combine` and its gradient in θ."""

    theta: Tensor
    values: Tensor
    total: float
    gradient: Tensor

    @property
    def lagrangian(self) -> Tensor:
        """∇L_k + Σ λ_i ∇ℓ_i, without the re-scaling."""
        return (1 + self.values.sum()) * self.gradient


def path(scale: Tensor, violation: Violation, rate: float, initial: float) -> list[Step]:
    """Steps of length 0.05 along the gradient's direction, with losses, optima and tolerances times ``scale``."""
    protected = scale[:2]
    multipliers = Multipliers(protected * FLOORS[:2], rate, protected * TOLERANCES, initial, violation=violation)
    theta = torch.tensor([-1.0, 1.0, 2.0], dtype=torch.float64)
    found = []
    for _ in range(40):
        scaled = scale * valleys(theta.requires_grad_())
        total = multipliers.combine(scaled)
        (gradient,) = torch.autograd.grad(total, theta)
        theta = theta.detach()
        found.append(Step(theta, multipliers.values.clone(), float(total.detach()), gradient))
        multipliers.ascend(scaled)
        theta = theta - 0.05 * gradient / gradient.norm()
    return found


def scales(protected: float, objective: float) -> Tensor:
    return torch.tensor([protected, protected, objective], dtype=torch.float64)


def assert_same(one: Tensor, other: Tensor) -> None:
    """Equal up to rounding that 40 steps may have magnified."""
    assert_close(one, other, 1e-9 * (1 + float(other.abs().max())))


class TestScale:
    r"""What becomes of a stage whose protected losses are measured in another unit.

    Let every protected loss, its optimum and its tolerance be multiplied by c > 0, the objective stay as it is, and

    .. math:: \lambda_0' = \lambda_0 / c, \qquad \eta_\lambda' = \eta_\lambda / c \ \text{(relative)}
              \quad\text{or}\quad \eta_\lambda / c^2 \ \text{(absolute)}.

    **Statement.** Along the same :math:`\theta_0, \theta_1, \dots` and at every step t

    1. :math:`\lambda_t' = \lambda_t / c`;
    2. :math:`D_t = \nabla L_k + \sum_i \lambda_i \nabla \ell_i` is unchanged;
    3. the gradient of :meth:`combine` is multiplied by
       :math:`\rho_t = (1 + \sum_j \lambda_{j,t}) / (1 + \sum_j \lambda_{j,t} / c) > 0`.

    **Proof.** A violation is :math:`c^p v` with p = 1 (absolute: all three terms are multiplied by c) or p = 0
    (relative: so is the denominator). By induction :math:`\lambda_{t+1}' = \max(0, \lambda_t / c +
    \eta_\lambda c^{-1-p} c^p v_t) = \max(0, \lambda_t + \eta_\lambda v_t) / c`, because the projection at 0 commutes
    with a positive factor. Then :math:`\lambda_i' \nabla (c\, \ell_i) = \lambda_i \nabla \ell_i`, which is 2; and
    :meth:`combine` has the gradient :math:`D_t / (1 + \sum_j \lambda_j')`, which is 3.

    **So** θ takes the same path under every rule that looks at the direction of the gradient alone (normalised or sign
    steps), and under plain SGD if :math:`\eta_\theta` is divided by :math:`\rho_t`. With an unchanged constant
    :math:`\eta_\theta` it does not, as :math:`\rho_t` moves with λ; Adam, which forgets a constant factor only, takes
    the same path as long as :math:`\rho_t` is constant. Fixed points do not depend on step sizes: the saddle has the
    same θ* and λ*/c.

    Relative violations thus free :math:`\eta_\lambda` of the unit that *all* losses share (then nothing at all has to
    be adapted, and λ itself is unchanged), not of the unit of the protected losses alone.
    """

    @pytest.mark.parametrize("c", [0.25, 0.5, 2.0, 4.0])
    def test_saddle_of_a_scaled_loss(self, c: float) -> None:
        """L1 = c x², ε = 0.04 c: x* = 0.2, y* = 2 as before, λ* = 4/c, under absolute violations."""
        multipliers = Multipliers([0.0], rate=1 / c**2, tolerance=0.04 * c, initial=0.0)
        scale = torch.tensor([c, 1.0], dtype=torch.float64)
        start = torch.zeros(2, dtype=torch.float64)
        theta = descend(lambda t: scale * two_bowls(t), start, multipliers, 0.25 / max(1.0, c))
        assert_close(theta, [0.2, 2.0], 1e-5)
        assert_close(multipliers.values * c, [4.0], 1e-3)

    @few
    @given(factors, violation_kinds, st.floats(0.1, 3.0), st.floats(0.0, 5.0))
    def test_of_the_protected_losses(self, c: float, violation: Violation, rate: float, initial: float) -> None:
        """The statement, step by step; each run walks its own path."""
        adapted = rate / c if violation == "relative" else rate / c**2
        plain = path(scales(1.0, 1.0), violation, rate, initial)
        scaled = path(scales(c, 1.0), violation, adapted, initial / c)
        for one, other in zip(plain, scaled, strict=True):
            assert_same(other.theta, one.theta)
            assert_same(c * other.values, one.values)
            assert_same(other.lagrangian, one.lagrangian)
            rho = (1 + one.values.sum()) / (1 + one.values.sum() / c)
            assert_same(other.gradient / rho, one.gradient)

    @few
    @given(factors, violation_kinds, st.floats(0.1, 3.0), st.floats(0.0, 5.0))
    def test_of_all_losses(self, c: float, violation: Violation, rate: float, initial: float) -> None:
        """θ and λ are unchanged, combine is multiplied by c; η_λ is to be divided by c under absolute violations."""
        adapted = rate if violation == "relative" else rate / c
        plain = path(scales(1.0, 1.0), violation, rate, initial)
        scaled = path(scales(c, c), violation, adapted, initial)
        for one, other in zip(plain, scaled, strict=True):
            assert_same(other.theta, one.theta)
            assert_same(other.values, one.values)
            assert_same(other.gradient / c, one.gradient)
            assert other.total / c == pytest.approx(one.total, rel=1e-9)

    @deterministic
    @given(factors, st.lists(losses, min_size=3, max_size=3))
    def test_relative_violations_have_none(self, c: float, row: list[float]) -> None:
        optima, values = torch.tensor([0.3, -2.0], dtype=torch.float64), torch.tensor(row, dtype=torch.float64)
        plain = Multipliers(optima, 1.0, TOLERANCES, violation="relative")
        scaled = Multipliers(c * optima, 1.0, c * TOLERANCES, violation="relative")
        assert_close(scaled.violations(c * values), plain.violations(values), ROUNDING)
        assert_close(scaled.paired_violations(c * values[:2]), plain.paired_violations(values[:2]), ROUNDING)

    def test_the_gradient_is_not_just_multiplied_by_a_constant(self) -> None:
        """Why the statement speaks of directions: ρ moves with λ, so a constant η_θ takes another path."""
        plain, scaled = path(scales(1.0, 1.0), "absolute", 1.0, 1.0), path(scales(10.0, 1.0), "absolute", 0.01, 0.1)
        ratios = [float(b.gradient.norm() / a.gradient.norm()) for a, b in zip(plain, scaled, strict=True)]
        assert max(ratios) > 1.2 * min(ratios)


@dataclass(frozen=True)
class Share:
    """One worker's sums of sample losses and numbers of labelled samples."""

    sums: Tensor
    counts: Tensor


def on_workers(
    shares: Sequence[Share], multipliers: Multipliers, call: Callable[[Multipliers, Share], T]
) -> list[tuple[T, Multipliers]]:
    """What each worker gets, in one process: a first round on copies collects what they would all-reduce."""
    given: list[Tensor] = []

    def collect(tensor: Tensor, group: object = None) -> None:
        given.append(tensor.clone())

    def add_up(tensor: Tensor, group: object = None) -> None:
        tensor.copy_(torch.stack(given).sum(0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "is_initialized", lambda: True)
        patch.setattr(dist, "get_world_size", lambda group=None: len(shares))
        patch.setattr(dist, "all_reduce", collect)
        for share in shares:
            call(copy.deepcopy(multipliers), share)
        patch.setattr(dist, "all_reduce", add_up)
        found = []
        for share in shares:
            mine = copy.deepcopy(multipliers)
            found.append((call(mine, share), mine))
    assert len(given) == (len(shares) if len(shares) > 1 else 0)  # one all-reduce a call
    return found


def gradient_of_sums(multipliers: Multipliers, share: Share) -> Tensor:
    leaf = share.sums.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(multipliers.combine(leaf, share.counts), leaf)
    return gradient


@st.composite
def splits(draw: st.DrawFn) -> tuple[Case, list[Share], Tensor, Tensor]:
    """Samples dealt to workers at random: the case, the workers' shares, and means and counts of all samples."""
    case = draw(cases())
    tasks = len(case.optima) + case.objectives
    workers = draw(st.integers(1, 5))
    samples = draw(
        st.lists(st.tuples(st.integers(0, workers - 1), st.integers(0, tasks - 1), losses), min_size=0, max_size=30)
    )
    sums, counts = torch.zeros(workers, tasks, dtype=torch.float64), torch.zeros(workers, tasks, dtype=torch.int64)
    for worker, task, loss in samples:
        sums[worker, task] += loss
        counts[worker, task] += 1
    total = torch.zeros(tasks, dtype=torch.float64)
    for _, task, loss in samples:
        total[task] += loss
    labelled = counts.sum(0)
    return case, [Share(s, n) for s, n in zip(sums, counts, strict=True)], total / labelled.clamp(min=1), labelled


class TestWorkers:
    """Sums with counts are the means of all samples, however these are dealt out; a worker may have none at all."""

    @staticmethod
    def rounding(case: Case) -> float:
        """Of λ after one ascent."""
        unit = min(map(abs, case.optima), default=1.0) if case.violation == "relative" else 1.0
        return ROUNDING * (1 + case.rate / unit)

    @deterministic
    @given(splits())
    def test_combine_is_that_of_the_means(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        """DDP takes the mean of the workers' gradients; its value and gradient are the single worker's."""
        case, shares, means, labelled = split
        multipliers = case.multipliers()
        expected = float(multipliers.combine(means))
        values = [value for value, _ in on_workers(shares, multipliers, lambda m, s: m.combine(s.sums, s.counts))]
        assert_close(torch.stack(values).mean(), expected, ROUNDING)

        per_sample = weights_of(multipliers, means) / labelled.clamp(min=1)
        gradients = [gradient for gradient, _ in on_workers(shares, multipliers, gradient_of_sums)]
        for gradient in gradients:  # a sample counts the same on every worker
            assert_close(gradient / len(shares), per_sample, 1e-12)

    @deterministic
    @given(splits())
    def test_ascend_is_that_of_the_means(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        case, shares, means, labelled = split
        alone = case.multipliers()
        alone.ascend(means)
        protected = len(case.optima)
        before = torch.tensor(case.initial, dtype=torch.float64)
        expected = torch.where(labelled[:protected] > 0, alone.values, before)
        found = on_workers(shares, case.multipliers(), lambda m, s: m.ascend(s.sums, s.counts))
        for _, worker in found:
            assert torch.equal(worker.values, found[0][1].values)  # bit-identical
        assert_close(found[0][1].values, expected, self.rounding(case))

    @deterministic
    @given(splits())
    def test_adding_up_before_or_after_is_the_same(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        """One worker that is given the totals."""
        case, shares, means, labelled = split
        multipliers = case.multipliers()
        totals = torch.stack([share.sums for share in shares]).sum(0)
        assert_close(multipliers.combine(totals, labelled), float(multipliers.combine(means)), ROUNDING)
        [(_, one)] = on_workers([Share(totals, labelled)], multipliers, lambda m, s: m.ascend(s.sums, s.counts))
        for _, worker in on_workers(shares, multipliers, lambda m, s: m.ascend(s.sums, s.counts)):
            assert_close(worker.values, one.values, self.rounding(case))


class TestState:
    @deterministic
    @given(cases(), st.lists(st.text(max_size=8), min_size=5, max_size=5, unique=True))
    def test_round_trip(self, case: Case, names: list[str]) -> None:
        """Through a file into multipliers of other numbers: the same state, and the same steps afterwards."""

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

    A limit is slack by δ: a minibatch's violation is :math:`X` with mean −δ, independent from step to step, and
    :math:`\lambda \leftarrow \max(0, \lambda + \eta X)` is a queue's waiting time. With :math:`l = \max(0, -(\lambda +
    \eta X))`, what the projection adds, stationary moments of :math:`\lambda' = \lambda + \eta X + l` give
    :math:`E\,l = \eta\delta` and, as :math:`\lambda' l = 0`, :math:`E\,\lambda = (\eta^2 E X^2 - E\,l^2) / (2 \eta
    \delta)`. Since :math:`(E\,l)^2 \le E\,l^2 \le \eta^2 E(X^-)^2`,

    .. math:: \frac{\eta\, E (X^+)^2}{2 \delta} \;\le\; E \lambda \;\le\; \frac{\eta \operatorname{Var} X}{2 \delta},

    the upper bound being Kingman's. Unpaired over paired, both of the same mean, is therefore at least
    :math:`E (X_\text{unpaired}^+)^2 / \operatorname{Var} X_\text{paired}`.

    Here a label is 1 with probability π, θ* predicts π and θ predicts p; a minibatch has B = 8 samples, K of them 1.
    Both violations are linear in K, a binomial number, so all moments are exact.
    """

    PI, P, B, RATE, SLACK = 0.3, 0.33, 8, 0.1, 0.02
    CHAINS, STEPS, BURN_IN = 200, 2500, 500

    @staticmethod
    def loss(prediction: float, ones: Tensor, size: int) -> Tensor:
        """Mean cross-entropy of a minibatch."""
        return -(ones * math.log(prediction) + (size - ones) * math.log(1 - prediction)) / size

    def moments(self, violations: Tensor) -> tuple[float, float]:
        """E (X⁺)² and Var X, from X at K = 0 … B."""
        probability = torch.tensor(
            [math.comb(self.B, k) * self.PI**k * (1 - self.PI) ** (self.B - k) for k in range(self.B + 1)]
        ).double()
        mean = float(probability @ violations)
        assert mean == pytest.approx(-self.SLACK, abs=1e-6)
        return float(probability @ violations.clamp(min=0) ** 2), float(probability @ (violations - mean) ** 2)

    def test_pairing_takes_out_the_bias(self) -> None:
        """200 independent chains, as so many protected tasks."""
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
