"""Samples of NMT's sweep against the full grid of loss weights, by number of tasks m.

::

    python -m experiments.benchmarks.cost_table experiments/conflict.yaml --most-trainings 130

Prints a Markdown table, with counts in bold and predictions in italics. NMT is trained for every m. The grids with p =
5 and p = 10 weights per task are trained up to ``--most-trainings`` trainings, and predicted beyond. The script fails
if a count differs from its prediction.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.comparison.build import samples_from_scratch
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.grid_plan import plan_grid, whole_grid
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.loss_weights import WeightGrid
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.verbs.cost_curve import first_levels
from nmt.orchestrator.verbs.grid import run_grid
from nmt.orchestrator.verbs.sweep import run_sweep

POINTS = (5, 10)


@dataclass(frozen=True)
class Cell:
    """The cost of a sweep or grid, counted or predicted."""

    trials: int
    samples: int
    counted: bool

    def __str__(self) -> str:
        return f"**{self.samples:,}**" if self.counted else f"*{self.samples:.3g}*"


def check(outcome: GroupOutcome, name: str) -> None:
    """Exit with an error if a count differs from its prediction."""
    planned, cost = outcome.planned, outcome.cost
    pairs = {"trials": (planned.trials, cost.trials), "stages": (planned.stages, cost.stages)}
    pairs |= {"samples": (planned.samples, cost.samples), "reused": (planned.samples_reused, cost.samples_reused)}
    wrong = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if wrong or not planned.exact:
        raise SystemExit(f"{name}: predictions and counts differ: {wrong}")


def grid_cell(prepared: PreparedExperiment, points: int, most: int, runner: TrialRunner, output: Output) -> Cell:
    """Return the cost of a grid, which is trained if it has at most ``most`` trials."""
    tasks = len(prepared.spec.tasks)
    trials = WeightGrid(tasks, points).trials
    options = prepared.experiment.grid.model_copy(update={"points": points, "baselines": False})
    experiment = prepared.experiment.model_copy(update={"grid": options})
    part = PreparedExperiment(experiment, prepared.spec, prepared.schema, prepared.folder)
    if trials > most:
        return Cell(trials, whole_grid(part, WeightGrid(tasks, points)).samples, counted=False)
    outcome = run_grid(part, plan_grid(part), runner, output)
    check(outcome, f"grid, p = {points}, m = {tasks}")
    return Cell(trials, samples_from_scratch(outcome.results), counted=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file with a sweep and eight tasks; stages of a fixed length")
    parser.add_argument("--set", action="append", default=[], help="override a key of the file")
    parser.add_argument("--most-trainings", type=int, default=130)
    arguments = parser.parse_args()
    output = current_output()
    prepared = prepare(arguments.file, arguments.set, lambda line: print(line, file=sys.stderr))
    rows = []
    with TrialRunner(prepared.experiment, prepared.folder, None, verbose=False) as runner:
        for number in range(2, len(prepared.spec.levels) + 1):
            part = first_levels(prepared, number)
            outcome = run_sweep(part, plan_sweep(part), runner, output)
            check(outcome, f"sweep, m = {number}")
            nmt = Cell(outcome.cost.trials, samples_from_scratch(outcome.results), counted=True)
            grids = [grid_cell(part, points, arguments.most_trainings, runner, output) for points in POINTS]
            stages = len({record.key for result in outcome.results for record in result.records})
            cells = [cell for grid in grids for cell in (grid, f"{grid.samples / nmt.samples:,.3g}")]
            rows.append((number, stages, nmt, *cells))
    head = ["m", "NMT: stages", "NMT: samples", *(name for p in POINTS for name in (f"grid, p = {p}", "times"))]
    print(markdown_table(head, rows))


if __name__ == "__main__":
    main()
