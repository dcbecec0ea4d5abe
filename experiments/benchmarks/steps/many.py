"""``many``: how a step grows from 2 to 64 tasks, against how the bare model's grows."""

from __future__ import annotations

import statistics

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.pairing import Timing, measure
from experiments.benchmarks.harness.result import Result, Row, Table
from experiments.benchmarks.steps.bare_loop import BareLoop
from experiments.benchmarks.steps.stage_steps import StageSteps
from experiments.benchmarks.steps.tasks import many_tasks

AIM = 1.10
FEW, MANY = 2, 64


class Passes:
    """Forward and backward pass of a bare loop, without the optimiser."""

    def __init__(self, loop: BareLoop) -> None:
        self._loop = loop

    def step(self) -> None:
        """One forward and one backward pass."""
        self._loop.model.zero_grad()
        self._loop.losses(self._loop.batch()).mean().backward()


def run(options: Options) -> Result:
    """Measure."""
    sides: dict[str, StageSteps | BareLoop | Passes] = {}
    for tasks in (FEW, MANY):
        problem = many_tasks(options, tasks)
        sides[f"nmt {tasks}"] = StageSteps(problem)
        sides[f"bare {tasks}"] = BareLoop(problem)
        sides[f"passes {tasks}"] = Passes(BareLoop(problem))
    found = measure(
        {name: side.step for name, side in sides.items()}, options.rounds or 9, blocks=1 if options.quick else 4
    )
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
    return Result(
        "many",
        f"a step's time at m = {MANY} over that at m = {FEW}, against the same of a bare loop",
        [
            Row.of(
                f"step({MANY}) / step({FEW})", "the same of a bare loop", growth["nmt"], growth["bare"], AIM, "times"
            ),
            Row.of(
                f"step({MANY}) / step({FEW})",
                "the same of forward and backward pass",
                growth["nmt"],
                growth["passes"],
                None,
                "times",
            ),
        ],
        [Table("Milliseconds", ("side", f"m = {FEW}", f"m = {MANY}", "difference"), lines)],
        conditions=many_tasks(options, 2).conditions,
        notes=(
            "What the heads themselves cost is in the bare loop's growth; nothing is subtracted. Bare is the whole "
            "step of a weighted sum, passes its forward and backward pass alone.",
        ),
    )


def _growth(found: dict[str, Timing], kind: str) -> Timing:
    few, many = found[f"{kind} {FEW}"], found[f"{kind} {MANY}"]
    return Timing(
        tuple(b / a for a, b in zip(few.seconds, many.seconds, strict=True)),
        tuple(b / a for a, b in zip(few.processor, many.processor, strict=True)),
    )
