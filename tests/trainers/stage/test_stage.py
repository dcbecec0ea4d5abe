from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nmt.trainers.stage.stepper
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.models.scorer import Scorer
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.records import Optimum, StageRecord
from nmt.trainers.reporter import Evaluated, Progress
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.protection import Protection
from nmt.trainers.stage.stage import MOST_KEPT, Stage, StageResult
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, MinibatchViolations
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close, assert_identical, no_host_synchronisation
from tests.trainers._problems import (
    Options,
    Recorder,
    TwoTowers,
    binary,
    chain_spec,
    conflict,
    feed_and_model,
    paper,
    rows_batch,
)

FIRST, SECOND = binary("first"), binary("second")
SCHEMA = Schema(
    categorical={"c": 4}, numeric={"x": Numeric(), "y": Numeric()}, labels={"first": 2, "second": 2, "third": 2}
)


def batch(first: list[float], second: list[float]) -> Any:
    rows = len(first)
    return rows_batch(
        torch.tensor([first, second], dtype=torch.float32).T,
        categorical=torch.ones(rows, 1, dtype=torch.int64),
        numeric=torch.randn(rows, 2, generator=torch.Generator().manual_seed(1)),
    )


def stepper_of(model: Scorer, multipliers: Multipliers, options: Options, checked: bool = True) -> Stepper:
    """The stepper of a stage that protects the first task and minimises the second, by No More Tuning."""
    no_feed: Any = None
    learner = Learner(model, no_feed, TaskLosses((FIRST, SECOND)))
    ascent, method = Ascent(multipliers, MinibatchViolations(multipliers)), Constrained(multipliers)
    spec = StageSpec(1, 2, (SECOND,), (), (1.0,), (FIRST,), options.settings, options.execution)
    return Stepper(learner, spec, Terms(spec, learner.device), ascent, method, checked)


class TestStepper:
    def stepper(self, **training: Any) -> tuple[Stepper, Scorer, Multipliers]:
        torch.manual_seed(0)
        model = Scorer(SCHEMA, (FIRST, SECOND), embedding_dim=2, units=[3])
        multipliers = Multipliers([0.3], rate=2.0, tolerance=0.1, initial=0.5)
        options = paper(**{"optimizer": "sgd", "eta_theta": 0.1, **training})
        return stepper_of(model, multipliers, options), model, multipliers

    def by_hand(self, model: Scorer, data: Any, weights: tuple[float, float], rate: float) -> dict[str, Tensor]:
        """Parameters after one plain step on the weighted means."""
        gradients = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for column, weight in enumerate(weights):
            label = data.labels[:, column]
            labelled = ~label.isnan()
            score = model(data)["first"][labelled]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, label[labelled])
            for total, part in zip(gradients, torch.autograd.grad(loss, list(model.parameters())), strict=True):
                total += weight * part
        named = zip(model.named_parameters(), gradients, strict=True)
        return {name: (p - rate * gradient).detach() for (name, p), gradient in named}

    def test_one_step_is_that_of_the_paper(self) -> None:
        stepper, model, multipliers = self.stepper()
        data = batch([1, 0, math.nan, 1, 1], [0, math.nan, math.nan, 1, 0])
        expected = self.by_hand(model, data, (0.5 / 1.5, 1 / 1.5), 0.1)
        before = TaskLosses((FIRST, SECOND))(model(data), data, (FIRST, SECOND))
        means = (before.sums.sum(0) / before.counts.sum(0)).tolist()
        losses, violations = stepper.step(data)
        assert_close(losses, means, 1e-6)
        assert_close(violations, [means[0] - 0.3 - 0.1], 1e-6)
        assert_close(multipliers.values, [max(0.0, 0.5 + 2.0 * (means[0] - 0.4))], 1e-6)
        for name, parameter in model.named_parameters():
            assert_close(parameter, expected[name], 1e-6)

    def test_two_steps(self) -> None:
        """The second step weighs with the λ that the first one left."""
        stepper, model, multipliers = self.stepper()
        data = batch([1, 0, 1, 1], [0, 1, 1, 0])
        stepper.step(data)
        scale = 1 + float(multipliers.values)
        expected = self.by_hand(model, data, (float(multipliers.values) / scale, 1 / scale), 0.1)
        stepper.step(data)
        for name, parameter in model.named_parameters():
            assert_close(parameter, expected[name], 1e-6)

    def test_a_batch_without_labels_of_the_protected_task(self) -> None:
        stepper, model, multipliers = self.stepper()
        losses, violations = stepper.step(batch([math.nan] * 3, [1, 0, math.nan]))
        assert violations.tolist() == [0.0]
        assert multipliers.values.tolist() == [0.5]
        assert losses[0] == 0
        assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())

    def test_a_batch_without_any_label_moves_nothing(self) -> None:
        stepper, model, multipliers = self.stepper()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        stepper.step(batch([math.nan] * 3, [math.nan] * 3))
        assert_identical(model.state_dict(), before)
        assert multipliers.values.tolist() == [0.5]

    def test_clipping(self) -> None:
        data = batch([1, 0, 1, 1], [0, 1, 1, 0])
        moved = {}
        for clip in (None, 1e-3):
            stepper, model, _ = self.stepper(clip_norm=clip, eta_theta=1.0)
            before = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
            stepper.step(data)
            after = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
            moved[clip] = after - before
        assert float(moved[None].norm()) > 1e-2
        assert_close(moved[1e-3], 1e-3 * moved[None] / moved[None].norm(), 1e-6)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    @pytest.mark.parametrize("clip", [None, 1.0])
    def test_no_host_synchronisation(self, optimizer: str, clip: float | None) -> None:
        model = Scorer(SCHEMA, (FIRST, SECOND), embedding_dim=2, units=[3])
        real = model, batch([1, 0, math.nan], [0, 1, 1]), Multipliers([0.3], rate=1.0)
        with no_host_synchronisation(*real) as (model, data, multipliers):
            options = paper(optimizer=optimizer, clip_norm=clip, l2_embedding=1e-3)  # type: ignore[arg-type]
            stepper = stepper_of(model, multipliers, options, checked=False)
            for _ in range(2):
                stepper.step(data, data)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("stage") / "conflict")


def spec_of(data: Path, **training: Any) -> ChainSpec:
    options = {"eta_theta": 0.03, "max_epochs": 3, "patience": 100, "evaluations_per_epoch": 2, **training}
    return chain_spec(data, [[FIRST], [SECOND]], paper(**options))


def first_stage(spec: ChainSpec, data: Path, recorder: Recorder, **options: Any) -> tuple[StageResult, Any, Any]:
    feed, model = feed_and_model(spec, data)
    learner = Learner(model, feed, TaskLosses(spec.tasks))
    result = Stage(learner, spec.stages[0], Protection(), recorder, **options).run()
    return result, model, feed


class TestRunStage:
    def test_candidates(self, data: Path) -> None:
        spec, recorder = spec_of(data), Recorder()
        result, model, feed = first_stage(spec, data, recorder)
        assert feed.steps_per_epoch() == 6
        assert [candidate.step for candidate in result.candidates] == [0, 3, 6, 9, 12, 15, 18]
        assert (result.steps, result.samples, result.ended_by) == (18, 3 * 180, "max_epochs")
        best = math.inf
        for candidate in result.candidates:
            assert candidate.feasible
            assert candidate.accepted == (candidate.losses["first"] < best)
            best = min(best, candidate.losses["first"])
        accepted = [candidate for candidate in result.candidates if candidate.accepted][-1]
        assert result.accepted_step == accepted.step > 0
        assert result.evaluations["valid"].losses == accepted.losses
        again = evaluate(Learner(model, feed, TaskLosses(spec.tasks)), "valid")
        assert again.losses == accepted.losses  # the model holds the accepted parameters
        assert result.evaluations["train"].losses["first"] < result.evaluations["train"].losses["second"]
        assert [event.candidate for event in recorder.events if isinstance(event, Evaluated)] == list(result.candidates)

    @pytest.mark.parametrize(("per_epoch", "steps"), [(1, [0, 6, 12]), (4, [0, 2, 3, 5, 6, 8, 9, 11, 12])])
    def test_evaluations_per_epoch(self, data: Path, per_epoch: int, steps: list[int]) -> None:
        spec = spec_of(data, max_epochs=2, evaluations_per_epoch=per_epoch)
        result, _, _ = first_stage(spec, data, Recorder())
        assert [candidate.step for candidate in result.candidates] == steps

    def test_more_evaluations_than_steps(self, data: Path) -> None:
        spec = spec_of(data, max_epochs=1, evaluations_per_epoch=50)
        result, _, _ = first_stage(spec, data, Recorder())
        assert [candidate.step for candidate in result.candidates] == list(range(7))

    def test_plateau(self, data: Path) -> None:
        spec = spec_of(data, max_epochs=50, patience=2, min_delta=1e9, backtracks=0)
        result, _, _ = first_stage(spec, data, Recorder())
        assert result.ended_by == "plateau"
        assert result.steps == 6
        assert result.samples == 180

    def test_backtracks(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each goes on from the best candidate, here the starting point, with a fresh optimiser at a lower rate."""
        rates, states = [], []
        build = nmt.trainers.stage.stepper.build_optimizer

        def spy(model: torch.nn.Module, settings: Settings, rate: float) -> torch.optim.Optimizer:
            rates.append(rate)
            states.append({name: value.clone() for name, value in model.state_dict().items()})
            return build(model, settings, rate)

        monkeypatch.setattr(nmt.trainers.stage.stepper, "build_optimizer", spy)
        spec = spec_of(data, eta_theta=50.0, max_epochs=50, patience=2, backtracks=2, decay=0.5)
        result, _, _ = first_stage(spec, data, Recorder())
        assert (result.accepted_step, result.steps, result.ended_by) == (0, 3 * 6, "plateau")
        assert rates == [50.0, 25.0, 12.5]
        for state in states[1:]:
            assert_identical(state, states[0])

    def test_rows_are_reported_once_and_in_order(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nmt.trainers.stage.stage, "REPORT_SECONDS", math.inf)
        spec, recorder = spec_of(data, max_epochs=2, evaluations_per_epoch=1), Recorder()
        small = replace(spec, batch_size=1)
        result, _, _ = first_stage(small, data, recorder)
        assert [row.step for row in result.history.rows] == list(range(1, 361))
        reported = [row for event in recorder.events if isinstance(event, Progress) for row in event.rows]
        assert reported == result.history.rows

    def test_no_row_is_lost_when_the_buffer_fills_between_two_events(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nmt.trainers.stage.stage, "REPORT_SECONDS", math.inf)
        data = conflict(tmp_path / "data", {"train": 300, "valid": 20, "test": 20})
        training = paper(max_epochs=1, evaluations_per_epoch=1)
        recorder = Recorder()
        result, _, _ = first_stage(chain_spec(data, [[FIRST]], training, batch_size=1), data, recorder)
        reported = [row for event in recorder.events if isinstance(event, Progress) for row in event.rows]
        assert [row.step for row in reported] == [row.step for row in result.history.rows] == list(range(1, 301))

    def test_rows_are_the_minibatch_losses(self, data: Path) -> None:
        """Recorded before the step: the first row is the loss of the initial parameters on the first batch."""
        spec = spec_of(data)
        feed, model = feed_and_model(spec, data)
        first = next(iter(feed.epoch(0, 0)))
        samples: Samples = TaskLosses(spec.tasks)(model(first), first, [FIRST])
        expected = float((samples.sums.sum() / samples.counts.sum()).detach())
        result, _, _ = first_stage(spec, data, Recorder())
        assert result.history.rows[0].losses == pytest.approx({"first": expected}, rel=1e-6)
        assert result.history.rows[0].multipliers == {}

    def test_the_second_tower_is_left_alone(self, data: Path) -> None:
        training = paper(eta_theta=0.05, max_epochs=2, patience=100)
        spec = chain_spec(data, [[FIRST], [SECOND]], training, model="tests.trainers._problems:TwoTowers")
        _, initial = feed_and_model(spec, data)
        before = initial.state_dict()
        result, model, _ = first_stage(spec, data, Recorder())
        assert result.accepted_step > 0
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {"shared.weight", "shared.bias", "towers.first.weight", "towers.first.bias"}
        assert all(parameter.requires_grad for parameter in model.parameters())

    def test_multipliers_start_anew_and_pull_back(self, data: Path) -> None:
        """Optima below what is attainable keep the violation positive: λ only rises, by η_λ · violation a step."""
        spec = spec_of(data, eta_lambda=2.0, initial_multiplier=0.25)
        feed, model = feed_and_model(spec, data)
        learner = Learner(model, feed, TaskLosses(spec.tasks))
        start = {split: evaluate(learner, split, keep_outputs=True) for split in ("train", "valid", "test")}
        references = {split: {"first": found.local_of("first")} for split, found in start.items()}
        outputs = {split: found.outputs.outputs for split, found in start.items() if found.outputs is not None}
        protection = Protection((Optimum("first", 0.01, 1, 0.01, 1),), references, outputs)
        result = Stage(learner, spec.stages[1], protection, Recorder()).run()
        value = 0.25
        for row in result.history.rows:
            assert row.violations["first"] == pytest.approx(row.losses["first"] - 0.01, rel=1e-6)
            value += 2.0 * row.violations["first"]
            assert row.multipliers["first"] == pytest.approx(value, rel=1e-9)
        assert result.multipliers == result.history.rows[-1].multipliers
        assert [(v.task, v.split) for v in result.verdicts] == [("first", "valid"), ("first", "test")]


class TestConstrainedStage:
    """Nothing counts as an improvement here, and no limit can be broken: only patience and backtracks end a stage."""

    per_evaluation = 3

    def records(self, data: Path, storage: Path, **training: Any) -> tuple[StageRecord, ...]:
        spec = spec_of(data, max_epochs=50, min_delta=1e9, accept_standard_errors=1e9, **training)
        feed, model = feed_and_model(spec, data)
        return run_chain(spec, model, feed, StageStore(str(storage)), Recorder())

    @pytest.mark.parametrize(
        ("options", "evaluations"),
        [
            ({"patience": 4, "backtracks": 0, "constrained_patience": 1, "constrained_backtracks": 2}, (4, 3)),
            ({"patience": 1, "backtracks": 1, "constrained_patience": 3, "constrained_backtracks": 0}, (2, 3)),
            ({"patience": 3, "backtracks": 1, "constrained_patience": 2, "constrained_backtracks": 3}, (6, 8)),
        ],
        ids=str,
    )
    def test_it_has_a_patience_and_backtracks_of_its_own(
        self, data: Path, tmp_path: Path, options: dict[str, int], evaluations: tuple[int, int]
    ) -> None:
        records = self.records(data, tmp_path, **options)
        assert [record.steps for record in records] == [self.per_evaluation * count for count in evaluations]
        assert [record.ended_by for record in records] == ["plateau", "plateau"]

    def test_without_patience_it_takes_every_epoch(self, data: Path, tmp_path: Path) -> None:
        spec = spec_of(data, patience=None, constrained_patience=None, min_delta=1e9)
        feed, model = feed_and_model(spec, data)
        records = run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder())
        assert [(record.steps, record.ended_by) for record in records] == [(18, "max_epochs")] * 2

    def test_each_backtrack_lowers_the_rate_and_keeps_the_multipliers(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = []
        build = nmt.trainers.stage.stepper.build_optimizer

        def spy(model: torch.nn.Module, settings: Settings, rate: float) -> torch.optim.Optimizer:
            rates.append(rate)
            return build(model, settings, rate)

        monkeypatch.setattr(nmt.trainers.stage.stepper, "build_optimizer", spy)
        options = {"patience": 1, "backtracks": 0, "constrained_patience": 1, "constrained_backtracks": 2}
        _, second = self.records(data, tmp_path, eta_theta=0.08, decay=0.5, eta_lambda=2.0, **options)
        assert rates == pytest.approx([0.08, 0.08, 0.04, 0.02])  # of stage 1, and of stage 2 with its two backtracks
        value = 1.0
        for row in second.rows:
            value = max(0.0, value + 2.0 * row.violations["first"])
            assert row.multipliers["first"] == pytest.approx(value, rel=1e-9)

    def test_a_multiplier_that_diverged_is_cut_at_a_backtrack(self, data: Path, tmp_path: Path) -> None:
        """Otherwise the objective would have no weight left."""
        options = {"patience": 1, "backtracks": 0, "constrained_patience": 1, "constrained_backtracks": 1}
        _, second = self.records(data, tmp_path, initial_multiplier=1e6, eta_lambda=1e-9, **options)
        found = [row.multipliers["first"] for row in second.rows]
        assert found[: self.per_evaluation] == pytest.approx([1e6] * self.per_evaluation)
        assert found[self.per_evaluation :] == pytest.approx([MOST_KEPT] * self.per_evaluation)


def test_levels_of_several_tasks_minimise_the_sum(data: Path) -> None:
    training = paper(eta_theta=0.05, max_epochs=6, patience=100)
    tasks = (FIRST, SECOND)
    spec = chain_spec(data, [tasks], training, model="tests.trainers._problems:TwoTowers")
    feed, model = feed_and_model(spec, data)
    assert isinstance(model, TwoTowers)
    result = Stage(Learner(model, feed, TaskLosses(tasks)), spec.stages[0], Protection(), Recorder()).run()
    start, accepted = result.candidates[0], [candidate for candidate in result.candidates if candidate.accepted][-1]
    assert accepted.losses["first"] < start.losses["first"] - 0.05
    assert accepted.losses["second"] < start.losses["second"] - 0.05
    sums = [candidate.losses["first"] + candidate.losses["second"] for candidate in result.candidates]
    assert accepted.losses["first"] + accepted.losses["second"] == min(sums)
