"""``tasks``: the constrained stage, against fixed weights through the same stepper, for many tasks."""

from __future__ import annotations

from dataclasses import replace

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import measure_sides
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.steps.problem import PAPER, WIDE_TRUNK, Problem, binary_tasks, write_synthetic
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.settings import Settings

AIM = 1.03
TASKS = (8, 32, 64)


def many_tasks(options: Options, tasks: int, training: Settings = PAPER, model: ModelSpec | None = None) -> Problem:
    """Return up to 64 tasks on numeric columns with Shared-Bottom."""
    folder = options.folder / "many"
    if not folder.exists():
        write_synthetic(folder, 64, 300 if options.quick else 60_000, numeric=8 if options.quick else 256)
    if options.quick:
        model = ModelSpec("shared_bottom", {"bottom_units": [8], "tower_units": [4]})
    return Problem(str(folder), binary_tasks(tasks), model or WIDE_TRUNK, 64 if options.quick else 2048, training)


def run(options: Options) -> Result:
    """Run the benchmark."""
    rows = []
    for tasks in TASKS:
        ours = StageSteps(many_tasks(options, tasks))
        theirs = StageSteps(many_tasks(options, tasks, replace(PAPER, method="weighted_sum")))
        found = measure_sides({"nmt": ours, "fixed": theirs}, options)
        rows.append(Row.of(f"nmt, m = {tasks}", "the same, fixed weights", found["nmt"], found["fixed"], AIM))
    return Result(
        "tasks",
        "the constrained stage against fixed weights through the same stepper",
        rows,
        conditions=many_tasks(options, 2).conditions,
    )
