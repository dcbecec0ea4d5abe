"""Stage 0 and later tasks in the mix: what a stage minimises, what its record keeps, and who shares it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.trainers import Multipliers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.training import FROM_RECIPE, Training
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.terms import Terms
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close
from tests.trainers._descent import descend
from tests.trainers._problems import Options, Recorder, binary, chain_spec, conflict, feed_and_model, paper

FIRST, SECOND, THIRD = binary("first", 0.01), binary("second"), binary("third")
LEVELS = [[FIRST], [SECOND], [THIRD]]
TOWERS: dict[str, Any] = {"model": "tests.trainers._problems:TwoTowers"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("joint") / "conflict")


def joint(**options: Any) -> Options:
    """The default recipe on few steps."""
    settings = Training().settle()
    recipe = {
        name: getattr(settings, name)
        for name in (*FROM_RECIPE, "relative", "backtracks", "constrained_backtracks", "constrained_patience")
    }
    return paper(**{**recipe, "eta_theta": 0.03, "max_epochs": 3, "evaluations_per_epoch": 2, **options})


def run(spec: ChainSpec, data: Path, storage: Path, recorder: Recorder | None = None) -> tuple[StageRecord, ...]:
    feed, model = feed_and_model(spec, data)
    return run_chain(spec, model, feed, StageStore(str(storage)), recorder or Recorder())


class TestKnownAnswers:
    """L1 = x², L2 = (x − 1)² + (y − 2)², L3 = (x − 1)² + (z − 3)²; stage 2: minimise L2 + α L3 subject to L1 ≤ ε."""

    @staticmethod
    def losses(theta: torch.Tensor) -> torch.Tensor:
        x, y, z = theta
        return torch.stack([x**2, (x - 1) ** 2 + (y - 2) ** 2, (x - 1) ** 2 + (z - 3) ** 2])

    def solve(self, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
        spec = ChainSpec(
            tuple((binary(name),) for name in "abc"), ModelSpec("scorer"), Settings(later_weight=alpha), 1, "none"
        )
        stage = spec.stages[2]
        terms, tasks = Terms(stage, CPU), len(stage.tasks)
        multipliers = Multipliers([0.0], rate=1.0, tolerance=0.04)
        start = torch.zeros(3, dtype=torch.float64)
        found = descend(lambda at: terms(self.losses(at)[:tasks]), start, multipliers, 0.1, accuracy=1e-10)
        return found, multipliers.values

    @pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
    def test_with_the_third_task_in_the_mix(self, alpha: float) -> None:
        theta, multipliers = self.solve(alpha)
        assert_close(theta, [0.2, 2.0, 3.0], 1e-7)
        assert_close(multipliers, [4 * (1 + alpha)], 1e-7)

    def test_without_it_the_third_coordinate_does_not_move(self) -> None:
        theta, multipliers = self.solve(0.0)
        assert_close(theta, [0.2, 2.0, 0.0], 1e-7)
        assert_close(multipliers, [4.0], 1e-7)


class TestTerms:
    def stage(self, levels: list[list[Any]], index: int, **settings: Any) -> Any:
        tasks = tuple(tuple(level) for level in levels)
        return ChainSpec(tasks, ModelSpec("scorer"), Settings(**settings), 1, "none").stages[index]

    def test_the_terms_of_a_level_add_up_to_its_objective(self) -> None:
        stage = self.stage([[FIRST], [SECOND, THIRD], [binary("fourth")]], 2, later_weight=0.4)
        losses = torch.tensor([1.0, 2.0, 4.0, 10.0], dtype=torch.float64)
        found = Terms(stage, CPU)(losses)
        assert_close(found, [1.0, 2.0 + 2.0, 4.0 + 2.0], 1e-12)
        assert float(found[1:].sum()) == pytest.approx(2.0 + 4.0 + 0.4 * 10.0)

    def test_without_later_tasks_the_losses_themselves(self) -> None:
        """To the very same tensor: nothing is rounded anew."""
        for index in (2, 3):
            stage = self.stage(LEVELS, index, later_weight=0.0 if index == 2 else 0.3)
            losses = torch.randn(len(stage.tasks))
            assert Terms(stage, CPU)(losses) is losses

    def test_the_joint_start_has_a_term_for_each_task(self) -> None:
        stage = self.stage(LEVELS, 0)
        assert stage.is_joint
        assert Terms(stage, CPU).count == 3
        assert stage.weights == pytest.approx((0.65, 0.175, 0.175))


class TestStages:
    def test_numbers_names_and_weights(self, data: Path) -> None:
        spec = chain_spec(data, LEVELS, joint())
        assert [stage.number for stage in spec.stages] == [0, 1, 2, 3]
        assert [stage.name for stage in spec.stages] == [
            "stage 0 (joint)",
            "stage 1 (first)",
            "stage 2 (second)",
            "stage 3 (third)",
        ]
        assert spec.stages[1].objective_weights == {"first": 1.0, "second": 0.3, "third": 0.3}
        assert spec.stages[3].objective_weights == {"third": 1.0}
        assert [task.name for task in spec.stages[3].protected] == ["first", "second"]

    def test_one_level_needs_no_joint_start(self, data: Path) -> None:
        spec = chain_spec(data, [[FIRST, SECOND]], joint())
        assert [stage.number for stage in spec.stages] == [1]

    def test_levels_share_the_starting_weights(self, data: Path) -> None:
        spec = chain_spec(data, [[FIRST, SECOND], [THIRD]], joint())
        assert spec.stages[0].objective_weights == pytest.approx({"first": 0.325, "second": 0.325, "third": 0.35})

    @pytest.mark.parametrize(
        ("change", "same"),
        [
            ({"eta_lambda": 0.1}, 2),
            ({"later_weight": 1.0}, 1),
            ({"joint_weight": 0.5}, 0),
            ({"eta_theta": 0.5}, 0),
            ({"accept_on": "metric"}, 2),
        ],
        ids=str,
    )
    def test_what_the_stages_depend_on(self, data: Path, change: dict[str, Any], same: int) -> None:
        spec = chain_spec(data, LEVELS, joint())
        other = replace(spec, training=replace(spec.training, **change))
        equal = [one == two for one, two in zip(spec.stage_keys(), other.stage_keys(), strict=True)]
        assert equal == [index < same for index in range(4)]

    def test_stage_0_does_not_depend_on_priorities_below_the_first_level(self, data: Path, tmp_path: Path) -> None:
        """The other chain goes on from the very same stage 0, in its model of towers too."""
        spec = chain_spec(data, LEVELS, joint(max_epochs=1), **TOWERS)
        other = chain_spec(data, [[FIRST], [THIRD], [SECOND]], joint(max_epochs=1), **TOWERS)
        assert spec.stage_keys()[0] == other.stage_keys()[0]
        assert not set(spec.stage_keys()[1:]) & set(other.stage_keys()[2:])
        run(spec, data, tmp_path)
        recorder = Recorder()
        run(other, data, tmp_path, recorder)
        started = [event.number for event in recorder.events if isinstance(event, StageStarted)]
        assert 0 not in started


@pytest.fixture(scope="module")
def records(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StageRecord, ...]:
    return run(chain_spec(data, LEVELS, joint(), **TOWERS), data, tmp_path_factory.mktemp("records"))


class TestRecords:
    def test_stage_0_solves_no_level(self, records: tuple[StageRecord, ...]) -> None:
        assert (records[0].number, records[0].level, records[0].optima, records[0].protected) == (0, (), (), ())
        assert records[0].objective == pytest.approx({"first": 0.65, "second": 0.175, "third": 0.175})

    def test_an_optimum_is_that_of_the_task_alone(self, records: tuple[StageRecord, ...]) -> None:
        for record, name in zip(records[1:], ("first", "second", "third"), strict=True):
            (optimum,) = record.optima
            assert optimum.task == name
            assert optimum.valid == record.losses["valid"][name]

    def test_candidates_are_judged_by_the_whole_objective(self, records: tuple[StageRecord, ...]) -> None:
        for record in records:
            best = float("inf")
            for candidate in record.candidates:
                value = sum(weight * candidate.losses[task] for task, weight in record.objective.items())
                assert candidate.accepted == (candidate.step == 0 or (candidate.feasible and value < best))
                best = min(best, value) if candidate.accepted else best

    def test_the_joint_start_trains_every_tower(self, records: tuple[StageRecord, ...]) -> None:
        first, accepted = records[0].candidates[0], records[0].losses["valid"]
        assert all(accepted[task] < first.losses[task] for task in ("first", "second", "third"))

    def test_the_certificate_is_that_of_the_mix(self, data: Path, tmp_path: Path) -> None:
        """At stage 1 nothing is protected: its gradient is that of L_1 + α (L_2 + L_3), measured here by hand."""
        spec = chain_spec(data, LEVELS, joint(max_epochs=1), **TOWERS)
        feed, model = feed_and_model(spec, data)
        records = run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder(), stages=2)
        certificate = records[1].certificate
        assert certificate is not None
        learner = Learner(model, feed, TaskLosses(spec.tasks))
        (batch,) = (batch for batch in feed.scan("train"))
        samples = learner.losses(model.train()(batch), batch, spec.tasks)
        means = samples.sums.sum(0) / samples.counts.sum(0)
        total = means[0] + 0.3 * (means[1] + means[2])
        gradients = torch.autograd.grad(total, learner.trainable(), allow_unused=True, materialize_grads=True)
        assert certificate.gradient_norm == pytest.approx(
            float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-4
        )


@pytest.mark.parametrize("method", ["nmt", "nmt+famo", "nmt+torchjd:UPGrad"])
def test_every_method_runs_a_joint_chain_and_keeps_the_guarantee(data: Path, tmp_path: Path, method: str) -> None:
    spec = chain_spec(data, [[FIRST], [SECOND, THIRD]], joint(method=method, max_epochs=2), **TOWERS)
    records = run(spec, data, tmp_path)
    assert [record.number for record in records] == [0, 1, 2]
    assert records[-1].held


def test_a_baseline_of_several_rounds_goes_on_from_its_best_model(data: Path, tmp_path: Path) -> None:
    spec = chain_spec(data, [[FIRST, SECOND]], paper(method="weighted_sum", weights=(0.7, 0.3), max_epochs=2), **TOWERS)
    rounds = replace(spec, rounds=3)
    assert rounds.stage_keys()[:1] == spec.stage_keys()
    records = run(rounds, data, tmp_path)
    assert [record.number for record in records] == [1, 2, 3]
    for before, after in pairwise(records):
        assert after.candidates[0].losses == pytest.approx(before.losses["valid"])
    with pytest.raises(ValueError, match="rounds must be at least 1, and 1 for a chain of levels; found 2"):
        replace(chain_spec(data, LEVELS, joint()), rounds=2)
