"""``methods``: a constrained step, against steps of methods that use each task's gradient, and of FAMO."""

from __future__ import annotations

import statistics
import warnings
from dataclasses import replace
from typing import Any

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import Side, measure_sides
from nmt.experiments.benchmarks.harness.result import Result, Row, Table
from nmt.experiments.benchmarks.steps.problem import PAPER
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.experiments.benchmarks.steps.tasks import many_tasks
from nmt.trainers.spec.chain_spec import ModelSpec

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "PCGrad": ("torchjd:PCGrad", {}),
    "MGDA": ("torchjd:MGDA", {}),
    "CAGrad": ("torchjd:CAGrad", {"c": 0.5}),
    "Nash-MTL": ("torchjd:NashMTL", {}),
    "FAMO": ("famo", {}),
}
TASKS = (2, 8, 32)
TRUNK = ModelSpec("shared_bottom", {"embedding_dim": 1, "bottom_units": [512, 256], "tower_units": [16]})


def run(options: Options) -> Result:
    """Run the benchmark."""
    rows, lines = [], []
    for tasks in (2, 4) if options.quick else TASKS:
        sides: dict[str, Side] = {"nmt": StageSteps(many_tasks(options, tasks, PAPER, TRUNK))}
        for name, (method, settings) in METHODS.items():
            training = replace(PAPER, method=method, method_options=settings)
            sides[name] = StageSteps(many_tasks(options, tasks, training, TRUNK))
        with warnings.catch_warnings():
            # Nash-MTL in torchjd builds its problem anew at every step, which cvxpy warns of.
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem")
            found = measure_sides(sides, options, rounds=5, blocks=2, warm_up=2)
        rows += [Row.of(f"nmt, m = {tasks}", name, found["nmt"], found[name], 1.0) for name in METHODS]
        own = found["nmt"].seconds
        relative = [
            statistics.median(theirs / ours for theirs, ours in zip(found[name].seconds, own, strict=True))
            for name in sides
        ]
        lines.append((tasks, *(round(value, 2) for value in relative)))
    return Result(
        "methods",
        "a constrained step against other methods, through the same stepper",
        rows,
        [Table("Time per step relative to No More Tuning", ("m", "NMT", *METHODS), tuple(lines))],
        conditions=many_tasks(options, 2, model=TRUNK).conditions,
        notes=("All but FAMO take one backward pass per task. FAMO takes one, and a second forward pass.",),
    )
