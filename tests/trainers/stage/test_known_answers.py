"""Bowls with known saddles through the whole engine: a model whose losses are quadratics, trained as any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.trainers import Multipliers
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Schema
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples, samples_from_rows
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, MinibatchViolations
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close
from tests.trainers._descent import descend
from tests.trainers._problems import Recorder, conflict, feed_and_model, three_bowls, two_bowls

TOLERANCE = 0.04
CPU = torch.device("cpu")


def later_bowls(theta: Tensor) -> Tensor:
    """L1 = x², L2 = (x − 1)² + (y − 2)², L3 = (x − 1)² + (z − 3)²."""
    x, y, z = theta
    return torch.stack([x**2, (x - 1) ** 2 + (y - 2) ** 2, (x - 1) ** 2 + (z - 3) ** 2])


BOWLS = {"two": two_bowls, "three": three_bowls, "later": later_bowls}


class Bowls(nn.Module):
    """Parameters θ in double precision; the output of a task is its loss, the same for every row."""

    def __init__(self, schema: Schema, tasks: Sequence[Task], bowls: str, start: Sequence[float]) -> None:
        super().__init__()
        self.names = sorted(task.name for task in tasks)
        self.bowls = bowls
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = BOWLS[self.bowls](self.theta)
        return {name: loss.expand(batch.rows) for name, loss in zip(self.names, losses, strict=True)}


def output_itself(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """Return the output as the loss of every labelled row."""
    return samples_from_rows(output, ~label.isnan(), batch)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("bowls") / "data", {"train": 200, "valid": 4, "test": 4})


def spec_of(data: Path, bowls: str, start: Sequence[float], batch_size: int = 1, **training: Any) -> ChainSpec:
    """A chain by the paper's recipe; its tasks are named in the order of the bowls, and all rows of the last count."""
    names = "abc"[: 3 if bowls != "two" else 2]
    loss = f"{__name__}:output_itself"
    values: dict[str, Any] = {"optimizer": "sgd", "eta_theta": 0.1, "max_epochs": 20, "patience": None, **training}
    return ChainSpec(
        levels=tuple((Task(name, loss, label="third", tolerance=TOLERANCE),) for name in names),
        model=ModelSpec(f"{__name__}:Bowls", {"bowls": bowls, "start": list(start)}),
        training=Training(recipe="paper", **values).settle(),
        batch_size=batch_size,
        data_fingerprint=read_schema(str(data)).fingerprint,
        execution=Execution(evaluations_per_epoch=1),
    )


def run(spec: ChainSpec, data: Path, storage: Path) -> tuple[StageRecord, ...]:
    feed, model = feed_and_model(spec, data)
    return run_chain(spec, model, feed, StageStore(str(storage)), Recorder())


def test_golden_trace_of_two_steps(data: Path) -> None:
    """From (1, 0), λ_0 = 2, ε = 0.04, η_θ = 0.1, η_λ = 0.5: both updates of a step come from the same losses."""
    spec = spec_of(data, "two", (1.0, 0.0), batch_size=7, eta_lambda=0.5)
    feed, model = feed_and_model(spec, data)
    stage = spec.stages[1]
    assert (stage.number, stage.later, len(spec.stages)) == (2, (), 2)
    multipliers = Multipliers([0.0], rate=stage.settings.eta_lambda, tolerance=TOLERANCE, initial=2.0)
    learner = Learner(model, feed, TaskLosses(spec.tasks))
    ascent = Ascent(multipliers, MinibatchViolations(multipliers))
    stepper = Stepper(learner, stage, Terms(stage, CPU), ascent, Constrained(multipliers))
    batches = iter(feed.epoch(1, 0))
    theta = model.get_parameter("theta")
    stepper.step(next(batches))
    assert_close(theta, [0.86666667, 0.13333333], 1e-7)
    assert_close(multipliers.values, [2.48], 1e-7)
    stepper.step(next(batches))
    assert_close(theta, [0.7508046, 0.24061303], 1e-7)
    assert_close(multipliers.values, [2.83555556], 1e-7)


def test_the_papers_chain_of_two_bowls_ends_at_the_saddle(data: Path, tmp_path: Path) -> None:
    """x* = √ε, y* = 2, λ* = 1/√ε − 1, in 4,000 steps and without a stage 0."""
    records = run(spec_of(data, "two", (0.0, 0.0), eta_lambda=1.0), data, tmp_path)
    assert [record.number for record in records] == [1, 2]
    assert records[0].optima[0].train == 0.0
    last = records[1].rows[-1]
    assert last.step == 4000
    assert last.losses == pytest.approx({"a": 0.04, "b": 0.64}, abs=1e-7)
    assert last.violations["a"] == pytest.approx(0.0, abs=1e-7)
    assert last.multipliers["a"] == pytest.approx(4.0, abs=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_later_task_in_the_mix_moves_the_multiplier(data: Path, tmp_path: Path, alpha: float) -> None:
    """λ* = (1 + α)(1/x* − 1) with x*² = L1* + ε, and z* = 3 already in stage 2; with α = 0, λ* = 4 as in the paper's.

    Stage 1 minimises L1 + α (L2 + L3), whose minimum is at x = 2α/(1 + 2α): with α > 0, L1* is not 0.
    """
    spec = spec_of(data, "later", (0.0, 0.0, 0.0), eta_lambda=1.0, later_weight=alpha)
    first, second = run(spec, data, tmp_path)[:2]
    start = 2 * alpha / (1 + 2 * alpha)
    assert first.optima[0].train == pytest.approx(start**2, abs=1e-7)
    x = (start**2 + TOLERANCE) ** 0.5
    last = second.rows[-1]
    assert last.losses["a"] == pytest.approx(x**2, abs=1e-7)
    assert last.losses["b"] == pytest.approx((x - 1) ** 2, abs=1e-7)
    assert last.multipliers["a"] == pytest.approx((1 + alpha) * (1 / x - 1), abs=1e-7)
    assert set(last.losses) == ({"a", "b"} if alpha == 0 else {"a", "b", "c"})
    if alpha:
        assert last.losses["c"] == pytest.approx((x - 1) ** 2, abs=1e-7)


def test_three_bowls_of_the_papers_chain(data: Path) -> None:
    """Stage 2: (0.2, 0, ·), λ = 4; stage 3: (0.2, 0.2, 3), λ = (20, 4). Its terms are the losses themselves."""
    stages = spec_of(data, "three", (0.0, 0.0, 0.0)).stages
    assert [stage.later for stage in stages] == [(), (), ()]

    def solve(index: int, start: Tensor, optima: list[float], eta_lambda: float) -> tuple[Tensor, Tensor]:
        terms, tasks = Terms(stages[index], CPU), len(stages[index].tasks)
        multipliers = Multipliers(optima, rate=eta_lambda, tolerance=TOLERANCE, initial=0.0)
        found = descend(lambda at: terms(three_bowls(at)[:tasks]), start, multipliers, 0.3, accuracy=1e-10)
        return found, multipliers.values

    second, multipliers = solve(1, torch.zeros(3, dtype=torch.float64), [0.0], 1.0)
    assert_close(second, [0.2, 0.0, 0.0], 1e-7)
    assert_close(multipliers, [4.0], 1e-7)
    third, multipliers = solve(2, second, [0.0, float(three_bowls(second)[1])], 10.0)
    assert_close(third, [0.2, 0.2, 3.0], 1e-7)
    assert_close(multipliers, [20.0, 4.0], 1e-6)
