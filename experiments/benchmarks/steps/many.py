"""``many``: growth of a step's time from 2 to 64 tasks, against the growth of a bare loop's."""

from __future__ import annotations

import statistics

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import Side, Timing, measure_sides
from nmt.experiments.benchmarks.harness.result import Result, Row, Table
from nmt.experiments.benchmarks.steps.bare_loop import BareLoop
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.experiments.benchmarks.steps.tasks import many_tasks

AIM = 1.10
FEW, MANY = 2, 64


class Passes:
    """Forward and backward pass of a bare loop, without the optimiser."""

    def __init__(self, loop: BareLoop) -> None:
        self._loop = loop

    def step(self) -> None:
        """Run one forward and one backward pass."""
        self._loop.model.zero_grad()
        self._loop.losses(self._loop.batch()).mean().backward()


def run(options: Options) -> Result:
    """Run the benchmark."""
    sides: dict[str, Side] = {}
    for tasks in (FEW, MANY):
        problem = many_tasks(options, tasks)
        sides[f"nmt {tasks}"] = StageSteps(problem)
        sides[f"bare {tasks}"] = BareLoop(problem)
        sides[f"passes {tasks}"] = Passes(BareLoop(problem))
    found = measure_sides(sides, options)
    growth = {kind: _growth(found, kind) for kind in ("nmt", "bare", "passes")}
    medians = {name: 1000 * statistics.median(timing.seconds) for name, timing in found.items()}
    lines = tuple(
        (
            kind,
            medians[f"{kind} {FEW}"],
            medians[f"{kind} {MANY}"],
            medians[f"{kind} {MANY}"] - medians[f"{kind} {FEW}"],
        )
        for kind in growth
    )
    ratio = f"step({MANY}) / step({FEW})"
    return Result(
        "many",
        f"a step's time at m = {MANY} over that at m = {FEW}, against the same of a bare loop",
        [
            Row.of(ratio, "the same of a bare loop", growth["nmt"], growth["bare"], AIM, "times"),
            Row.of(ratio, "the same of forward and backward pass", growth["nmt"], growth["passes"], None, "times"),
        ],
        [Table("Milliseconds", ("side", f"m = {FEW}", f"m = {MANY}", "difference"), lines)],
        conditions=many_tasks(options, 2).conditions,
        notes=(
            "The cost of the heads is part of the bare loop's growth; nothing is subtracted. bare is a whole step on a "
            "weighted sum, passes its forward and backward pass alone.",
        ),
    )


def _growth(found: dict[str, Timing], kind: str) -> Timing:
    few, many = found[f"{kind} {FEW}"], found[f"{kind} {MANY}"]
    return Timing(
        tuple(b / a for a, b in zip(few.seconds, many.seconds, strict=True)),
        tuple(b / a for a, b in zip(few.processor, many.processor, strict=True)),
    )
