"""``cooper``: a constrained step against Cooper's on the same problem."""

from __future__ import annotations

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import measure_sides
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.steps.cooper_loop import CooperLoop
from nmt.experiments.benchmarks.steps.problem import Problem
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.experiments.benchmarks.steps.step import problem
from nmt.experiments.benchmarks.steps.tasks import many_tasks


def run(options: Options) -> Result:
    """Run the benchmark."""
    problems: dict[str, Problem] = {"MMoE, TikTok's columns, m = 2": problem(options)}
    for tasks in (8, 64):
        problems[f"Shared-Bottom, m = {tasks}"] = many_tasks(options, tasks)
    rows = []
    for name, stated in problems.items():
        found = measure_sides({"nmt": StageSteps(stated), "cooper": CooperLoop(stated)}, options)
        rows.append(Row.of(name, "Cooper 1.0.1, simultaneous", found["nmt"], found["cooper"], 1.0))
    return Result(
        "cooper",
        "a constrained step against Cooper's",
        rows,
        conditions={name: stated.conditions for name, stated in problems.items()},
        notes=("Our step also records losses and multipliers and checks that they are finite; Cooper's does neither.",),
    )
