"""The ν-PI rule: against a recursion by hand, without its proportional term, and on the closed-form saddle."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt import Multipliers
from nmt.trainers.pi_rule import proportional_step
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close, assert_identical, no_host_synchronisation
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper, two_bowls


def by_hand(
    violations: Sequence[float], initial: float, rate: float, gain: float, nu: float, times: int = 1
) -> list[float]:
    """Compute λ_1, λ_2, … of one task with plain numbers."""
    value, average, trace = initial, 0.0, []
    for step, violation in enumerate(violations):
        before = average
        average = violation if step == 0 else nu * before + (1 - nu) * violation
        value = max(0.0, value + rate * times * violation + gain * (average - before))
        trace.append(value)
    return trace


def ascended(multipliers: Multipliers, violations: Tensor, times: int = 1) -> Tensor:
    """Return λ after each row of violations."""
    trace = []
    for row in violations:
        multipliers.ascend_by(row, times)
        trace.append(multipliers.values.clone())
    return torch.stack(trace)


def random_violations(steps: int = 50) -> Tensor:
    """Return violations of two tasks; the second is mostly satisfied, so its λ is often projected."""
    generator = torch.Generator().manual_seed(4)
    return torch.randn(steps, 2, generator=generator, dtype=torch.float64) - torch.tensor([0.0, 0.3])


@pytest.mark.parametrize("nu", [0.0, 0.9, -0.9])
@pytest.mark.parametrize("times", [1, 4])
def test_follows_the_recursion(nu: float, times: int) -> None:
    violations = random_violations()
    multipliers = Multipliers([0.0, 0.0], rate=0.3, initial=[1.0, 0.2], proportional=0.7, smoothing=nu)
    found = ascended(multipliers, violations, times)
    for task, initial in enumerate((1.0, 0.2)):
        assert_close(found[:, task], by_hand(violations[:, task].tolist(), initial, 0.3, 0.7, nu, times), 1e-12)
    assert int((found[:, 1] == 0).sum()) > 5
    assert int((found[:, 1] > 0).sum()) > 5


def test_unprojected_it_is_the_sum_of_its_two_parts() -> None:
    """λ_{t+1} = λ_0 + κ_P ξ_t + κ_I Σ e, the form after which the rule is named."""
    violations = random_violations()
    multipliers = Multipliers([0.0, 0.0], rate=0.3, initial=100.0, proportional=0.7, smoothing=0.5)
    found = ascended(multipliers, violations)
    average = violations[0]
    for step in range(1, len(violations)):
        average = 0.5 * average + 0.5 * violations[step]
        assert_close(found[step], 100.0 + 0.7 * average + 0.3 * violations[: step + 1].sum(0), 1e-11)


def test_a_proportional_gain_equal_to_the_rate_is_the_optimistic_gradient() -> None:
    """λ ← λ + η (2 e_t − e_{t−1})."""
    violations = random_violations()
    multipliers = Multipliers([0.0, 0.0], rate=0.3, initial=100.0, proportional=0.3)
    found = ascended(multipliers, violations)
    assert_close(found[1:] - found[:-1], 0.3 * (2 * violations[1:] - violations[:-1]), 1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_without_proportional_term_it_is_plain_ascent(smoothing: float) -> None:
    """Bit-identical, and with the same state."""
    violations = random_violations()
    plain, other = (
        Multipliers([0.0, 0.0], rate=0.3, **options)  # type: ignore[arg-type]
        for options in ({}, {"proportional": 0.0, "smoothing": smoothing})
    )
    expected = torch.ones(2, dtype=torch.float64)
    for row in violations:
        expected = expected.add(row, alpha=0.3).clamp(min=0.0)
        for multipliers in (plain, other):
            multipliers.ascend_by(row)
            assert torch.equal(multipliers.values, expected)
    names = ["multipliers", "optima", "tolerance", "skipped", "_extra_state"]
    assert list(other.state_dict()) == list(plain.state_dict()) == names
    assert repr(other) == repr(plain)


def test_a_measurement_that_stands_for_several_steps() -> None:
    """In the plain rule it equals that many times the violation, bit for bit."""
    one, other = Multipliers([0.0, 0.0], rate=0.3), Multipliers([0.0, 0.0], rate=0.3)
    for row in random_violations():
        one.ascend_by(row, times=4)
        other.ascend_by(row * 4)
        assert torch.equal(one.values, other.values)


def test_ascend_follows_the_rule() -> None:
    """With means of a minibatch, a tolerance, a relative violation, and a task that sometimes has no label."""
    options: dict[str, Any] = {"tolerance": 0.1, "violation": "relative", "proportional": 0.7, "smoothing": 0.4}
    one, other = (Multipliers([0.5, 2.0], rate=0.3, **options) for _ in range(2))
    for step, row in enumerate(random_violations()):
        losses, counts = torch.cat([row + 1.0, torch.ones(1)]), torch.tensor([step % 3, 2, 1])
        one.ascend(losses * counts, counts)
        other.ascend_by(torch.where(counts[:2] > 0, other.violations(losses), 0.0))
        assert_close(one.values, other.values, 1e-12)


def test_a_task_without_labels_keeps_multiplier_and_average() -> None:
    violations = random_violations()
    kept = violations.clone()
    kept[::3, 0] = 0.0
    multipliers = Multipliers([0.0, 0.0], rate=0.3, proportional=0.7, smoothing=0.5)
    found = ascended(multipliers, kept)
    labelled = [step for step in range(len(kept)) if step % 3]
    assert_close(found[labelled, 0], by_hand(violations[labelled, 0].tolist(), 1.0, 0.3, 0.7, 0.5), 1e-12)
    assert torch.equal(found[3::3, 0], found[2:-1:3, 0])


def swing(rate: float, proportional: float, smoothing: float = 0.0, steps: int = 300) -> Tensor:
    """Return λ along the descent of L1 = x² ≤ 0.04, L2 = (x − 1)² + (y − 2)², with λ* = 4."""
    multipliers = Multipliers(
        [0.0], rate=rate, tolerance=0.04, initial=0.0, proportional=proportional, smoothing=smoothing
    )
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    trace = []
    for _ in range(steps):
        losses = two_bowls(theta)
        (gradient,) = torch.autograd.grad(multipliers.combine(losses), theta)
        multipliers.ascend(losses)
        with torch.no_grad():
            theta -= 0.1 * gradient
        trace.append(float(multipliers.values))
    assert_close(theta, [0.2, 2.0], 0.05)
    return torch.tensor(trace, dtype=torch.float64)


class TestOscillation:
    """METHOD.md gives these numbers."""

    def test_plain_ascent_overshoots_and_oscillates(self) -> None:
        plain = swing(50.0, 0.0)
        assert float(plain.max()) == pytest.approx(29.0, abs=0.1)
        assert float((plain[200:] - 4.0).abs().max()) == pytest.approx(0.34, abs=0.01)
        assert crossings(plain) == 21

    def test_the_proportional_term_damps_it(self) -> None:
        damped = swing(50.0, 50.0)
        assert float(damped.max()) == pytest.approx(15.8, abs=0.1)
        assert float((damped[200:] - 4.0).abs().max()) < 1e-6
        assert crossings(damped) == 4

    @pytest.mark.parametrize("rate", [10.0, 20.0, 30.0, 50.0])
    @pytest.mark.parametrize("smoothing", [0.0, 0.5, -0.5])
    def test_at_every_rate(self, rate: float, smoothing: float) -> None:
        """Less overshoot, no more oscillations, and closer to λ* after 100 steps."""
        plain, damped = swing(rate, 0.0), swing(rate, 50.0, smoothing)
        assert float(damped.max()) < float(plain.max())
        assert crossings(damped) <= crossings(plain)
        assert float((damped[100:] - 4).abs().max()) < 0.5 * float((plain[100:] - 4).abs().max())
        assert float(damped[-1]) == pytest.approx(4.0, abs=1e-3)


def crossings(trace: Tensor) -> int:
    """Count how often λ crosses λ* and goes at least a tenth of λ* beyond."""
    away = trace[(trace - 4.0).abs() > 0.4] - 4.0
    return int((away[1:] * away[:-1] < 0).sum())


class TestState:
    def fresh(self, **options: Any) -> Multipliers:
        return Multipliers([0.0, 0.0], rate=0.3, names=["like", "share"], proportional=0.7, smoothing=0.5, **options)

    def test_is_named(self) -> None:
        assert list(self.fresh().state_dict()) == [
            "multipliers", "optima", "tolerance", "skipped", "smoothed", "started", "_extra_state",
        ]  # fmt: skip

    @pytest.mark.parametrize("before", [0, 1, 20])
    def test_a_restart_changes_nothing(self, before: int) -> None:
        violations = random_violations()
        violations[:2, 1] = 0.0  # one task starts later
        whole, first, second = self.fresh(), self.fresh(), self.fresh(initial=9.0)
        expected = ascended(whole, violations)
        for row in violations[:before]:
            first.ascend_by(row)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second.load_state_dict(torch.load(buffer, weights_only=True))
        assert torch.equal(ascended(second, violations[before:]), expected[before:])
        assert_identical(dict(second.named_buffers()), dict(whole.named_buffers()))

    def test_a_cast_of_the_parent_keeps_the_dtype(self) -> None:
        multipliers = self.fresh()
        multipliers.ascend_by(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
        torch.nn.ModuleList([multipliers]).half()
        assert (multipliers.smoothed.dtype, multipliers.started.dtype) == (torch.float64, torch.bool)
        assert multipliers.smoothed.tolist() == [1 / 3, 2 / 3]
        torch.nn.ModuleList([multipliers]).to("meta")
        assert multipliers.smoothed.is_meta
        assert multipliers.started.is_meta

    def test_no_host_synchronisation(self) -> None:
        with no_host_synchronisation(self.fresh(), torch.ones(3)) as (multipliers, losses):
            multipliers.ascend(losses)
            multipliers.ascend(losses, torch.ones_like(losses))
            multipliers.ascend_by(losses[:2], times=4)

    def test_nothing_of_a_step_that_is_not_finite_stays(self) -> None:
        for lost in (math.nan, math.inf):
            multipliers = self.fresh()
            multipliers.ascend_by(torch.tensor([lost, 1.0], dtype=torch.float64))
            multipliers.values.fill_(1.0)
            multipliers.ascend_by(torch.tensor([0.5, 1.0], dtype=torch.float64))
            assert_close(multipliers.values, [1.0 + 0.3 * 0.5 + 0.7 * 0.5, 1.0 + 0.3 + 0.7], 1e-12)

    def test_repr(self) -> None:
        assert "proportional=0.7, smoothing=0.5" in repr(self.fresh())


class TestKeys:
    """The options in stage keys."""

    SPEC = ChainSpec(
        ((Task("like", "binary_cross_entropy"),), (Task("finish", "binary_cross_entropy"),)),
        ModelSpec("scorer"),
        paper().settings,
        64,
        "abc",
    )

    def keys(self, **options: float) -> tuple[str, ...]:
        return dataclasses.replace(self.SPEC, training=paper(**options).settings).stage_keys()

    def test_they_change_the_keys_of_stages_that_protect(self) -> None:
        first, second = self.keys()
        for options in ({"proportional": 1.0}, {"proportional": 1.0, "smoothing": 0.5}):
            assert self.keys(**options)[0] == first
            assert self.keys(**options)[1] != second
        assert self.keys(proportional=1.0) != self.keys(proportional=1.0, smoothing=0.5)


def test_held_out_measurements_enter_the_proportional_term_once(tmp_path: Path) -> None:
    """λ recomputed from the chain's rows: κ_I counts every step that a measurement stands for, κ_P counts one."""
    data = conflict(tmp_path / "data")
    tasks = [binary("first", 0.01), binary("second")]
    training = paper(
        eta_theta=0.1,
        eta_lambda=0.5,
        proportional=2.0,
        smoothing=0.25,
        violations="held_out",
        max_epochs=2,
        patience=99,
    )
    spec = chain_spec(data, [[task] for task in tasks], training)
    feed, model = feed_and_model(spec, data)
    _, second = run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder())
    measured = [row for row in second.rows if (row.step - 1) % 4 == 0]
    expected = by_hand([row.violations["first"] for row in measured], 1.0, 0.5, 2.0, 0.25, times=4)
    assert [row.multipliers["first"] for row in measured] == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 6) for value in expected}) > 2


def test_one_step() -> None:
    step = proportional_step(
        torch.tensor([1.0, 1.0, 0.0]), torch.tensor([9.0, 2.0, 3.0]), torch.tensor([False, True, True]), 2.0, 0.25
    )
    assert step.change.tolist() == [2.0, -1.5, 0.0]
    assert step.smoothed.tolist() == [1.0, 1.25, 3.0]
    assert step.started.tolist() == [True, True, True]


class TestErrors:
    @pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
    def test_proportional(self, value: float) -> None:
        with pytest.raises(ValueError, match="proportional must be a finite number of at least 0, found"):
            Multipliers([0.5], rate=1.0, proportional=value)
        with pytest.raises(ValueError, match="proportional must be a finite number at least 0, found"):
            paper(proportional=value)

    @pytest.mark.parametrize("value", [-1.0, 1.0, math.nan])
    def test_smoothing(self, value: float) -> None:
        with pytest.raises(ValueError, match="smoothing must be between -1 and 1, found"):
            Multipliers([0.5], rate=1.0, proportional=1.0, smoothing=value)
        with pytest.raises(ValueError, match="smoothing must be a finite number between -1 and 1, found"):
            paper(proportional=1.0, smoothing=value)

    def test_smoothing_alone(self) -> None:
        with pytest.raises(ValueError, match="smoothing belongs to the proportional part of the multipliers"):
            paper(smoothing=0.5)
