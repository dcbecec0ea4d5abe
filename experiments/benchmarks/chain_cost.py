"""``chain``: the cost of a chain of m stages by m, in samples, in seconds of steps and in seconds overall.

Each stage trains and evaluates the heads of its level and of those before it, on one trunk; the paper counts the cost
of a chain as stages times epochs. A least-squares line through the costs, with its residual, shows how linear they are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.result import Result, Table
from nmt.experiments.benchmarks.steps.call_log import read_calls
from nmt.experiments.benchmarks.steps.problem import PAPER, Problem, binary_tasks, write_synthetic
from nmt.experiments.benchmarks.steps.workers import with_timed_model
from nmt.experiments.data import toxcast
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.reporter import NullReporter
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore

TASKS = (2, 4, 8, 16, 32, 64)
MODEL = ModelSpec("shared_bottom", {"embedding_dim": 1, "bottom_units": [256, 128], "tower_units": [16]})


@dataclass(frozen=True)
class Line:
    """A straight line through costs.

    Attributes:
        slope: Cost per task.
        intercept: Cost at m = 0.
        determination: R², the share of the variance that the line explains.
        residual: Largest deviation from the line, relative to the line.
    """

    slope: float
    intercept: float
    determination: float
    residual: float

    @classmethod
    def through(cls, tasks: Sequence[int], costs: Sequence[float]) -> Line:
        """Fit by least squares of the relative deviations, so that 2 tasks weigh as much as 64."""
        x, y = np.asarray(tasks, dtype=float), np.asarray(costs, dtype=float)
        slope, intercept = np.polyfit(x, y, 1, w=1 / y)
        fitted = slope * x + intercept
        explained = 1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        return cls(float(slope), float(intercept), float(explained), float(np.abs(y / fitted - 1).max()))


@dataclass(frozen=True)
class Cost:
    """The cost of a chain.

    Attributes:
        stages: Number of stages.
        steps: Number of optimisation steps.
        samples: Training examples of these steps.
        seconds: Time of the whole chain.
        step_seconds: Time of the steps: their number times the median time between training passes.
    """

    stages: int
    steps: int
    samples: int
    seconds: float
    step_seconds: float


def chain_cost(problem: Problem, folder: Path) -> Cost:
    """Train a chain from scratch in this process."""
    problem = with_timed_model(problem, folder)
    feed, model = problem.feed(), problem.build()
    spec = ChainSpec(
        levels=tuple((task,) for task in problem.tasks),
        model=problem.model,
        training=problem.training,
        execution=problem.execution,
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
    """Return tasks with stages of a fixed length: ToxCast's first assays if its file is given, else synthetic ones."""
    training = replace(PAPER, max_epochs=1)
    execution = Execution(evaluations_per_epoch=1, record_every=10, checkpoint_every=0)
    if options.data is not None:
        folder = str(toxcast.prepare(options.data, options.folder / "toxcast"))
        labels = list(read_schema(folder).labels)[:tasks]
        assays = tuple(Task(name=label, loss="binary_cross_entropy", tolerance=0.02) for label in labels)
        return Problem(folder, assays, MODEL, 256, training, execution)
    folder = str(options.folder / "many")
    if not Path(folder).exists():
        write_synthetic(Path(folder), 64, 300 if options.quick else 8000, numeric=8 if options.quick else 256)
    return Problem(folder, binary_tasks(tasks), MODEL, 64 if options.quick else 256, training, execution)


def run(options: Options) -> Result:
    """Run the benchmark: each round trains all chains, and the fastest round of each counts."""
    numbers = (2, 3, 5) if options.quick else TASKS
    chain_cost(problem(options, numbers[0]), options.folder / "first")  # loads the modules of the metrics
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
        "seconds overall": Line.through(numbers, [best[m].seconds for m in numbers]),
    }
    return Result(
        "chain",
        "cost of a chain by its number of tasks",
        (),
        [
            Table(
                "",
                ("m", "stages", "steps", "samples", "seconds of steps", "seconds overall"),
                tuple((m, c.stages, c.steps, c.samples, c.step_seconds, c.seconds) for m, c in best.items()),
            ),
            Table(
                "Straight lines",
                ("cost", "per task", "at m = 0", "R²", "largest deviation"),
                tuple((name, o.slope, o.intercept, o.determination, o.residual) for name, o in lines.items()),
            ),
        ],
        conditions={**problem(options, numbers[0]).conditions, "data": options.data or "synthetic", "epochs": 1},
        notes=(
            "Each stage takes one epoch. The trunk is the same for all m, so steps grow by their heads alone. The fit "
            "minimises relative deviations.",
        ),
    )
