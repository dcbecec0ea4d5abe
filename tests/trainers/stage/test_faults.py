"""Numbers that are not finite, and workers that disagree, stop a stage with a message that says where."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nmt.trainers.stage.chain
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.faults import DisagreementError, NonFiniteStepError, NumericalError
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.reporter import Progress
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.numerical_checks import are_finite, check_step
from nmt.trainers.stage.protection import Protection
from nmt.trainers.stage.stage import Stage
from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.workers.agreement import check_agreement
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

FIRST, SECOND = binary("first"), binary("second")
MODEL = "tests.trainers.stage.test_faults:Fragile"
GUILTY = 77
"""Training example that breaks the model, once it has taken enough steps."""


class Fragile(nn.Module):
    """A linear score that is infinite, or has an infinite gradient, at one example of one task after some steps."""

    def __init__(self, schema: Schema, tasks: Sequence[Task], task: str, way: str, after: int) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.linear = nn.Linear(len(schema.numeric), 1)
        self.task, self.way, self.after, self.steps = task, way, after, 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        score = self.linear(batch.numeric).squeeze(1)
        outputs = dict.fromkeys(self.names, score)
        guilty = (batch.index == GUILTY) & (self.training and self.steps >= self.after)
        if self.way == "loss":
            outputs[self.task] = score.masked_fill(guilty, math.inf)
        elif self.way == "gradient":
            # The square root is 0 there and its slope infinite.
            outputs[self.task] = score + torch.where(guilty, (score - score.detach()).clamp(min=0), 1.0).sqrt() - 1
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        return outputs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("faults") / "conflict")


def spec_of(data: Path, model: str = MODEL, options: dict[str, Any] | None = None, **training: Any) -> ChainSpec:
    short = {"max_epochs": 4, "evaluations_per_epoch": 1, "patience": 100, "eta_theta": 0.02, "checkpoint_every": 4}
    return chain_spec(data, [[FIRST], [SECOND]], paper(**{**short, **training}), model=model, **(options or {}))


def run(rank: int, workers: int, data: str, storage: str, way: str) -> list[str]:
    """What a chain whose second stage breaks says, and what it left."""
    spec = spec_of(Path(data), options={"task": "second", "way": way, "after": 42})
    feed, model = feed_and_model(spec, Path(data), rank, workers)
    try:
        run_chain(spec, model, feed, StageStore(storage), Recorder(), CheckpointStore(storage))
    except NumericalError as error:
        return [str(error)]
    return ["finished"]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("way", ["loss", "gradient"])
def test_step_task_worker_and_example_are_named(
    data: Path, tmp_path: Path, workers: Workers, way: str, count: int
) -> None:
    storage = str(tmp_path)
    said = [run(0, 1, str(data), storage, way)] if count == 1 else workers.run(2, run, str(data), storage, way)
    assert all(words == said[0] for words in said)
    message = said[0][0]
    found = re.match(r"stage 2 \(second\), step (\d+): ", message)
    assert found, message
    assert f"worker {GUILTY % count}, training example {GUILTY}. " in message
    assert "task 'second'" in message
    assert ("the gradient is not finite" in message) == (way == "gradient")
    keys = spec_of(data, options={"task": "second", "way": way, "after": 42}).stage_keys()
    assert StageStore(storage).read(keys[0]) is not None
    assert StageStore(storage).read(keys[1]) is None
    step = int(found[1])
    assert CheckpointStore(storage).latest(keys[1]) == (step - 1) // 4 * 4  # the last good one
    state = CheckpointStore(storage).read(keys[1], (step - 1) // 4 * 4)
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


def test_nothing_that_is_not_finite_is_reported(data: Path, tmp_path: Path) -> None:
    spec = spec_of(data, options={"task": "second", "way": "loss", "after": 42})
    feed, model = feed_and_model(spec, data)
    recorder = Recorder()
    with pytest.raises(NumericalError):
        run_chain(spec, model, feed, StageStore(str(tmp_path)), recorder)
    rows = [row for event in recorder.events if isinstance(event, Progress) for row in event.rows]
    assert rows
    assert all(
        math.isfinite(value) for row in rows for part in (row.losses, row.multipliers) for value in part.values()
    )


def test_multiplier_that_overflows(data: Path, tmp_path: Path) -> None:
    spec = spec_of(data, model="scorer", eta_lambda=1.7e308, initial_multiplier=1.7e308, eta_theta=0.5)
    feed, model = feed_and_model(spec, data)
    with pytest.raises(NumericalError, match=r"step \d+: the multiplier of task 'first' became inf .* lower training"):
        run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder())


def test_training_that_diverges(data: Path, tmp_path: Path) -> None:
    spec = spec_of(data, model="scorer", eta_theta=1e38, optimizer="sgd")
    feed, model = feed_and_model(spec, data)
    with pytest.raises(NumericalError, match=r"stage \d \(\w+\), step \d+: the loss of task '\w+' is (inf|nan)"):
        run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder())


class TestUncheckedSteps:
    """On a GPU steps only raise a flag; the stage then goes back and looks at every step."""

    def test_flag(self, data: Path) -> None:
        spec = spec_of(data, options={"task": "first", "way": "loss", "after": 8})
        feed, model = feed_and_model(spec, data)
        learner = Learner(model, feed, TaskLosses(spec.tasks))
        with pytest.raises(NonFiniteStepError):
            Stage(learner, spec.stages[0], Protection(), Recorder(), checked=False).run()

    def test_second_look(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the last checkpoint, which lies before the fault, and with the fault named."""
        looks = []
        stage = nmt.trainers.stage.chain.Stage

        def spy(*arguments: Any) -> Any:
            looks.append(arguments[-1])
            return stage(*arguments)

        monkeypatch.setattr(nmt.trainers.stage.chain, "Stage", spy)
        monkeypatch.setattr(nmt.trainers.stage.chain, "_looks_at_every_step", lambda model: False)
        spec = spec_of(data, options={"task": "first", "way": "loss", "after": 16})
        feed, model = feed_and_model(spec, data)
        with pytest.raises(NumericalError, match=f"training example {GUILTY}. "):
            run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder(), CheckpointStore(str(tmp_path)))
        assert looks == [False, True]


def disagree(rank: int, workers: int, what: str) -> str:
    """What a worker says when another one's state is off by the least that can be."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    multipliers = Multipliers([0.5, 0.5], rate=1.0, initial=[1.0, 2.0], names=["pay", "amount"])
    if rank == 1 and what == "multipliers":
        multipliers.values[1] = math.nextafter(2.0, 3.0)
    if rank == 1 and what == "parameters":
        with torch.no_grad():
            model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    try:
        check_agreement(multipliers, model, 40)
    except DisagreementError as error:
        return str(error)
    return "agreed"


def test_agreement(workers: Workers) -> None:
    assert workers.run(2, disagree, "nothing") == ["agreed"] * 2
    one, other = workers.run(2, disagree, "multipliers")
    assert one == other
    assert one.startswith(
        "after step 40 the workers hold different multipliers of task 'amount': "
        "2.0 on worker 0, 2.0000000000000004 on worker 1"
    )
    one, other = workers.run(2, disagree, "parameters")
    assert one == other
    assert "after step 40 the workers hold different parameters" in one


@pytest.mark.parametrize(
    ("value", "finite"), [(0.0, True), (3e38, True), (math.inf, False), (-math.inf, False), (math.nan, False)]
)
def test_every_kind_of_gradient_is_looked_at(value: float, finite: bool) -> None:
    """Sums and squares of 3e38 overflow, the check does not; an infinity of either sign and a NaN are found."""
    sizes = ((3, 4), (5,), (0,))
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3e38 if finite else 1.0)
    assert parameters[0].grad is not None
    parameters[0].grad[1, 2] = value
    assert bool(are_finite(torch.zeros(2).double(), parameters)) is finite
    assert not are_finite(torch.tensor([0.0, math.nan]).double(), [])


def test_finite_gradients_whose_sum_overflows_are_no_fault() -> None:
    model = torch.nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.full((2, 2), 3e38), torch.zeros(2)
    losses = torch.zeros(1).double()
    unread: Any = None  # of what is finite, nothing else is looked at
    check_step(1, losses, unread, unread, Learner(model, unread, unread), [])
    model.bias.grad[0] = math.nan
    with pytest.raises(NumericalError, match="step 1: the gradient is not finite"):
        check_step(1, losses, unread, unread, Learner(model, unread, unread), [])
