"""``step``: a constrained step in one process, against a weighted sum in a bare loop."""

from __future__ import annotations

from dataclasses import replace

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import Side, measure_sides
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.steps.bare_loop import BareLoop
from nmt.experiments.benchmarks.steps.problem import PAPER, SMALL_MMOE, TIKTOK, Problem, binary_tasks, write_synthetic
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.settings import Settings

AIM = 1.03
HELD_OUT = replace(PAPER, violations="held_out", relative=True, eta_lambda=3.0)

UPDATES: dict[str, Settings] = {
    "nmt, the paper's update": PAPER,
    "nmt, paired on the minibatch": replace(PAPER, violations="paired"),
    "nmt, held-out violations (default)": HELD_OUT,
}


def problem(options: Options, training: Settings = PAPER) -> Problem:
    """Return two tasks on TikTok's columns with MMoE and global batches of 4,096 rows."""
    folder = options.folder / "tiktok"
    if not folder.exists():
        vocabularies = {name: min(size, 50) for name, size in TIKTOK.items()} if options.quick else TIKTOK
        write_synthetic(folder, 2, 600 if options.quick else 120_000, vocabularies)
    model = ModelSpec("mmoe", {"experts": 2, "expert_units": [8]}) if options.quick else SMALL_MMOE
    return Problem(str(folder), binary_tasks(2), model, 64 if options.quick else 4096, training)


def run(options: Options) -> Result:
    """Run the benchmark."""
    sides: dict[str, Side] = {name: StageSteps(problem(options, training)) for name, training in UPDATES.items()}
    sides["bare loop"] = BareLoop(problem(options))
    found = measure_sides(sides, options)
    rows = [
        Row.of(name, "bare loop, weighted sum", found[name], found["bare loop"], AIM if training == PAPER else None)
        for name, training in UPDATES.items()
    ]
    return Result(
        "step",
        "a constrained step against a weighted sum in a bare loop",
        rows,
        conditions={**problem(options).conditions, "tasks": 2},
        notes=(
            "Held-out violations need a forward pass of a validation batch every 4 steps: a cost of the method, not "
            "overhead.",
        ),
    )
