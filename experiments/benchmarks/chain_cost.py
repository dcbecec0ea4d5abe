"""``chain``: what a chain of m stages costs against m, in samples, in seconds of steps and in all seconds.

Every stage evaluates and trains the heads of its level and those before it, on one trunk; a chain's cost is stages
times epochs, as the paper counts it. A straight line through the costs, by least squares, and what it leaves over, say
how far it is linear.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.result import Result, Table
from experiments.benchmarks.steps.problem import PAPER, Problem, binary_tasks, make_up
from experiments.benchmarks.steps.timed_model import read_calls
from experiments.benchmarks.steps.workers import timed
from experiments.data import toxcast
from trainers.data.prepared import read_schema
from trainers.reporter import NullReporter
from trainers.spec.chain_spec import ChainSpec, ModelSpec
from trainers.spec.task import Task
from trainers.stage.chain import run_chain
from trainers.store.stage_store import StageStore

TASKS = (2, 4, 8, 16, 32, 64)
MODEL = ModelSpec("shared_bottom", {"embedding_dim": 1, "bottom_units": [256, 128], "tower_units": [16]})


@dataclass(frozen=True)
class Line:
    """A straight line through costs.

    Attributes:
        slope: Cost per task.
        intercept: Cost at no task.
        determination: R², the share of the variance that the line explains.
        residual: Largest deviation from the line, as a share of the line's value.
    """

    slope: float
    intercept: float
    determination: float
    residual: float

    @classmethod
    def through(cls, tasks: Sequence[int], costs: Sequence[float]) -> Line:
        """By least squares of the relative deviations, so that a chain of two tasks counts as much as one of 64."""
        x, y = np.asarray(tasks, dtype=float), np.asarray(costs, dtype=float)
        slope, intercept = np.polyfit(x, y, 1, w=1 / y)
        fitted = slope * x + intercept
        explained = 1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        return cls(float(slope), float(intercept), float(explained), float(np.abs(y / fitted - 1).max()))


@dataclass(frozen=True)
class Cost:
    """What a chain cost.

    Attributes:
        stages: Stages.
        steps: Optimisation steps.
        samples: Training examples that they saw.
        seconds: Everything.
        step_seconds: Time of the steps: their number times the median time from one training pass to the next.
    """

    stages: int
    steps: int
    samples: int
    seconds: float
    step_seconds: float


def chain_cost(problem: Problem, folder: Path) -> Cost:
    """Train a chain in this process, from nothing."""
    problem = timed(problem, folder)
    feed, model = problem.feed(), problem.build()
    spec = ChainSpec(
        levels=tuple((task,) for task in problem.tasks),
        model=problem.model,
        training=problem.training,
        batch_size=problem.batch_size,
        data_fingerprint=feed.schema.fingerprint,
    )
    began = time.perf_counter()
    records = run_chain(spec, model, feed, StageStore(str(folder / "runs")), NullReporter())
    seconds = time.perf_counter() - began
    steps = sum(record.steps for record in records)
    (calls,) = read_calls(folder / "calls")
    return Cost(len(records), steps, sum(record.samples for record in records), seconds, steps * calls.median_step())


def problem(options: Options, tasks: int) -> Problem:
    """ToxCast's first assays where its file is given, made-up labels otherwise; stages of a fixed length."""
    training = replace(PAPER, max_epochs=1, evaluations_per_epoch=1, backtracks=0, retreats=0, record_every=10)
    if options.data is not None:
        folder = str(toxcast.prepare(options.data, options.folder / "toxcast"))
        labels = list(read_schema(folder).labels)[:tasks]
        chosen = tuple(Task(name=label, loss="binary_cross_entropy", tolerance=0.02) for label in labels)
        return Problem(folder, chosen, MODEL, 256, training)
    place = options.folder / "many"
    if not place.exists():
        make_up(place, 64, 300 if options.quick else 8000, numeric=8 if options.quick else 256)
    return Problem(str(place), binary_tasks(tasks), MODEL, 64 if options.quick else 256, training)


def run(options: Options) -> Result:
    """Train the chains, the whole list once a round; the best round of each counts."""
    numbers = (2, 3, 5) if options.quick else TASKS
    chain_cost(problem(options, numbers[0]), options.folder / "first")  # imports what metrics need
    best: dict[int, Cost] = {}
    for number in range(options.rounds or 2):
        for tasks in numbers:
            cost = chain_cost(problem(options, tasks), options.folder / f"chain-{tasks}-{number}")
            kept = best.setdefault(tasks, cost)
            best[tasks] = replace(
                kept,
                seconds=min(kept.seconds, cost.seconds),
                step_seconds=min(kept.step_seconds, cost.step_seconds),
            )
    lines = {
        "samples": Line.through(numbers, [best[m].samples for m in numbers]),
        "seconds of steps": Line.through(numbers, [best[m].step_seconds for m in numbers]),
        "all seconds": Line.through(numbers, [best[m].seconds for m in numbers]),
    }
    return Result(
        "chain",
        "what a chain costs against its number of tasks",
        (),
        [
            Table(
                "",
                ("m", "stages", "steps", "samples", "seconds of steps", "all seconds"),
                tuple((m, c.stages, c.steps, c.samples, c.step_seconds, c.seconds) for m, c in best.items()),
            ),
            Table(
                "Straight lines",
                ("cost", "per task", "at 0", "R²", "largest deviation"),
                tuple((name, o.slope, o.intercept, o.determination, o.residual) for name, o in lines.items()),
            ),
        ],
        conditions={**problem(options, numbers[0]).conditions, "data": options.data or "made up", "epochs": 1},
        notes=(
            "Each stage costs an epoch. A stage's own steps grow with its heads: the trunk is the same, so the growth "
            "is theirs. The fit minimises relative deviations.",
        ),
    )
