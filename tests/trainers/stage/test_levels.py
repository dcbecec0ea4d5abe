"""Several tasks of equal priority in one stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, MinibatchViolations
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper

FIRST, SECOND, THIRD = binary("first", 0.01), binary("second", 0.01), binary("third", 0.01)
TRAINING = paper(
    optimizer="sgd", eta_theta=0.5, eta_lambda=2.0, max_epochs=3, evaluations_per_epoch=2, patience=100, clip_norm=0.5
)
TOWERS: dict[str, Any] = {"model": "tests.trainers._problems:TwoTowers", "double": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("levels") / "conflict")


def run(
    levels: Sequence[Sequence[Task]], data: Path, storage: Path, initial: dict[str, Tensor] | None = None, **model: Any
) -> tuple[tuple[StageRecord, ...], dict[str, Tensor]]:
    """The records of a chain, and the parameters that it started from."""
    spec = chain_spec(data, levels, TRAINING, **model)
    feed, built = feed_and_model(spec, data)
    if initial is not None:
        built.load_state_dict(initial)
    start = {name: value.clone() for name, value in built.state_dict().items()}
    return run_chain(spec, built, feed, StageStore(str(storage)), Recorder()), start


def test_the_gradient_of_a_level_is_that_of_the_sum(data: Path) -> None:
    """Two tasks of equal priority below a protected one: the weights are λ : 1 : 1, over 1 + λ."""
    tasks = (FIRST, SECOND, THIRD)
    spec = chain_spec(data, [[FIRST], [SECOND, THIRD]], TRAINING, **TOWERS)
    feed, model = feed_and_model(spec, data)
    batch = next(iter(feed.epoch(0, 0)))
    parameters = {name: p for name, p in model.named_parameters() if "unread" not in name}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in parameters)
    samples = TaskLosses(tasks)(model(batch), batch, tasks)
    first, second, third = samples.sums.sum(0) / samples.counts.sum(0)
    gradients = torch.autograd.grad((3 * first + second + third) / (1 + 3), list(parameters.values()))
    scale = min(1.0, 0.5 / float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    expected = {
        name: parameter.detach() - 0.5 * scale * gradient
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
    }
    multipliers = Multipliers([0.1], rate=2.0, tolerance=0.01, initial=3.0)
    ascent, method = Ascent(multipliers, MinibatchViolations(multipliers)), Constrained(multipliers)
    stage = spec.stages[1]
    stepper = Stepper(Learner(model, feed, TaskLosses(tasks)), stage, Terms(stage, torch.device("cpu")), ascent, method)
    losses, _ = stepper.step(batch)
    assert_close(losses, torch.stack([first, second, third]).detach(), 1e-12)
    assert_close(multipliers.values, [3 + 2 * (float(first.detach()) - 0.11)], 1e-12)
    for name, parameter in parameters.items():
        assert_close(parameter, expected[name], 1e-7)


@pytest.mark.parametrize("levels", [[[FIRST, SECOND], [THIRD]], [[THIRD], [FIRST, SECOND]]], ids=["first", "last"])
def test_the_best_sum_is_accepted(data: Path, tmp_path: Path, levels: list[list[Task]]) -> None:
    """Not the best loss of either task."""
    records, _ = run(levels, data, tmp_path)
    place = [len(level) for level in levels].index(2)
    shared = records[place]
    assert shared.level == ("first", "second")
    assert [optimum.task for optimum in shared.optima] == ["first", "second"]
    sums = {c.step: c.losses["first"] + c.losses["second"] for c in shared.candidates if c.feasible and c.share == 1}
    assert shared.gained
    assert sums[shared.accepted_step] == min(sums.values()) < sums[0]
    for optimum in shared.optima:
        assert optimum.train == shared.losses["train"][optimum.task]
        assert optimum.valid == shared.losses["valid"][optimum.task]


def test_a_later_stage_protects_every_task_of_a_level(data: Path, tmp_path: Path) -> None:
    records, _ = run([[FIRST, SECOND], [THIRD]], data, tmp_path)
    last = records[1]
    assert last.protected == ("first", "second")
    for task, optimum in zip(last.protected, records[0].optima, strict=True):
        assert {row.multipliers[task] for row in last.rows} != {1.0}
        # A row is a step here: its violation is its loss over the one frozen optimum and the tolerance.
        for row in last.rows:
            assert row.violations[task] == pytest.approx(row.losses[task] - optimum.train - 0.01, abs=1e-9)
        for split in ("valid", "test"):
            assert last.verdict(task, split) is not None
    assert last.held
    assert last.certificate is not None
    assert set(last.certificate.shadow_prices) == set(last.certificate.feasibility) == {"first", "second"}


@pytest.mark.parametrize("model", [{}, TOWERS], ids=["one score", "towers"])
@pytest.mark.parametrize("place", [0, 1], ids=["first level", "second level"])
def test_the_order_within_a_level_does_not_matter(
    data: Path, tmp_path: Path, model: dict[str, Any], place: int
) -> None:
    """The same optima, multipliers and verdicts from the same initial parameters.

    A model with towers draws their initial parameters in the order of the tasks, so the second chain starts from those
    of the first, tower by tower; one score starts the same by its seed. Sums are rounded in another order.
    """
    pair, alone = (FIRST, SECOND), (THIRD,)
    levels = [pair, alone] if place == 0 else [alone, pair]
    permuted = [level[::-1] for level in levels]
    records, initial = run(levels, data, tmp_path / "one", **model)
    again, start = run(permuted, data, tmp_path / "other", initial if model else None, **model)
    assert {name: value.tolist() for name, value in start.items()} == {k: v.tolist() for k, v in initial.items()}
    tolerance = 1e-9 if model else 1e-5
    for one, other in zip(records, again, strict=True):
        assert other.level == one.level[::-1]
        assert (other.steps, other.accepted_step, other.ended_by) == (one.steps, one.accepted_step, one.ended_by)
        assert other.multipliers == pytest.approx(one.multipliers, abs=tolerance)
        optima, same = ({o.task: o for o in record.optima} for record in (one, other))
        for task, optimum in optima.items():
            assert same[task].train == pytest.approx(optimum.train, abs=tolerance)
            assert same[task].valid == pytest.approx(optimum.valid, abs=tolerance)
        for verdict in one.verdicts:
            found = other.verdict(verdict.task, verdict.split)
            assert found is not None
            # The paired difference is taken from sample losses that are kept in single precision.
            assert found.difference == pytest.approx(verdict.difference, abs=1e-6)
            assert found.held == verdict.held
