"""``step``: a constrained step of one process, against a weighted sum in a bare loop."""

from __future__ import annotations

from dataclasses import replace

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.pairing import measure
from experiments.benchmarks.harness.result import Result, Row
from experiments.benchmarks.steps.bare_loop import BareLoop
from experiments.benchmarks.steps.problem import PAPER, SMALL_MMOE, TIKTOK, Problem, binary_tasks, make_up
from experiments.benchmarks.steps.stage_steps import StageSteps
from trainers.spec.chain_spec import ModelSpec
from trainers.spec.training import Training

AIM = 1.03
HELD_OUT = replace(PAPER, violation="relative", measured_on="valid", eta_lambda=3.0)

UPDATES: dict[str, Training] = {
    "nmt, the paper's update": PAPER,
    "nmt, paired on the minibatch": replace(PAPER, paired=True),
    "nmt, held-out violations (default)": HELD_OUT,
}


def problem(options: Options, training: Training = PAPER) -> Problem:
    """Two tasks on TikTok's columns, MMoE, global batches of 4,096."""
    folder = options.folder / "tiktok"
    if not folder.exists():
        vocabularies = {name: min(size, 50) for name, size in TIKTOK.items()} if options.quick else TIKTOK
        make_up(folder, 2, 600 if options.quick else 120_000, vocabularies)
    model = ModelSpec("mmoe", {"experts": 2, "expert_units": [8]}) if options.quick else SMALL_MMOE
    return Problem(str(folder), binary_tasks(2), model, 64 if options.quick else 4096, training)


def run(options: Options) -> Result:
    """Measure."""
    rivals = {name: StageSteps(problem(options, training)) for name, training in UPDATES.items()}
    bare = BareLoop(problem(options))
    found = measure(
        {**{name: side.step for name, side in rivals.items()}, "bare loop": bare.step},
        options.rounds or 9,
        blocks=1 if options.quick else 4,
    )
    rows = [
        Row.of(name, "bare loop, weighted sum", found[name], found["bare loop"], AIM if place == 0 else None)
        for place, name in enumerate(UPDATES)
    ]
    return Result(
        "step",
        "a constrained step against a weighted sum in a bare loop",
        rows,
        conditions={**problem(options).conditions, "tasks": 2},
        notes=(
            "Held-out violations take one more forward pass, of a validation batch, every 4 steps: that is what they "
            "are, and no overhead.",
        ),
    )
