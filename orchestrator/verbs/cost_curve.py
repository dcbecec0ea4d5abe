"""The cost curve: samples by number of tasks, measured for NMT's sweep and predicted for the grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.table import Table

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.comparison.build import samples_from_scratch
from nmt.orchestrator.comparison.cost_figure import cost_against_tasks
from nmt.orchestrator.comparison.costs import POINTS, sweep_stages
from nmt.orchestrator.comparison.files import TABLE, png
from nmt.orchestrator.comparison.numerals import count_text, times_text
from nmt.orchestrator.comparison.results import CostPoint
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.loss_weights import WeightGrid
from nmt.orchestrator.trials.sweep_plan import SweepPlan, plan_sweep
from nmt.orchestrator.verbs.sweep import run_sweep
from nmt.orchestrator.verbs.trial_group import GroupSession

NMT = "NMT"


@dataclass(frozen=True)
class CostCurveOutcome:
    """Outcome of sweeps with growing numbers of tasks.

    Attributes:
        sweeps: The sweeps, one per number of tasks.
        group: The group whose run holds the curve.
        points: The curve: NMT measured, grids predicted.
        exact: Whether predictions are exact.
        folder: Folder of its files.
    """

    sweeps: tuple[GroupOutcome, ...]
    group: GroupOutcome
    points: tuple[CostPoint, ...]
    exact: bool
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "costs": [asdict(point) for point in self.points],
            "exact_samples": self.exact,
            "folder": self.folder,
            "sweeps": [sweep.to_dict() for sweep in self.sweeps],
            "mlflow_run_id": self.group.run_id,
            "mlflow_link": self.group.link,
        }


def first_levels(prepared: PreparedExperiment, number: int) -> PreparedExperiment:
    """Return the experiment with only its first levels."""
    experiment = prepared.experiment.model_copy(update={"tasks": prepared.experiment.tasks[:number]})
    spec = experiment.chain(prepared.spec.data_fingerprint, prepared.spec.ingest)
    if (live := prepared.spec.live) is not None:
        kept = tuple(task.name for task in spec.tasks if task.name in live.tasks)
        whole = number == len(prepared.spec.levels)  # a model of fewer tasks has other parameters
        spec = replace(spec, live=replace(live, tasks=kept, start=live.start and whole) if kept else None)
    return replace(prepared, experiment=experiment, spec=spec)


def parse_numbers(text: str, prepared: PreparedExperiment) -> tuple[int, ...]:
    """Parse numbers of tasks such as ``2,4,8``; returns them in order, without repetitions.

    Raises:
        RequestError: The text is no list of numbers, or one is outside the experiment's number of levels.
    """
    levels = len(prepared.spec.levels)
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= levels for number in numbers):
        raise RequestError(
            f"--tasks {text!r}: give numbers of tasks from 1 to {levels}, which the experiment has in order of "
            "priority, such as --tasks 2,4"
        )
    return numbers


def run_cost_curve(
    prepared: PreparedExperiment, numbers: Sequence[int], runner: TrialRunner, output: Output
) -> CostCurveOutcome:
    """Run a sweep for each number of tasks, and draw the cost curve.

    Raises:
        RequestError: There is nothing to sweep, or the cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    parts = [first_levels(prepared, number) for number in numbers]
    plans = [plan_sweep(part) for part in parts]
    sweeps = tuple(run_sweep(part, plan, runner, output) for part, plan in zip(parts, plans, strict=True))
    points = _points(parts, plans, sweeps)
    exact = prepared.experiment.training.patience is None
    params = {"method": prepared.experiment.training.method, **plans[-1].params}
    tags = {"nmt.tasks": ",".join(map(str, numbers)), "nmt.sweep_runs": ",".join(s.run_id or "" for s in sweeps)}
    with GroupSession("comparison", "cost curve", prepared, params, Forecast(), runner, output, tags) as session:
        folder = session.attach(_files(points, exact))
        return CostCurveOutcome(sweeps, session.close(), points, exact, folder)


def cost_curve_table(outcome: CostCurveOutcome) -> Table:
    """Return samples by number of tasks as a table for the terminal."""
    table = Table(title="samples by number of tasks", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.caption_justify, table.caption_style = "left", ""
    for place, head in enumerate(_columns(outcome.points)):
        table.add_column(head, justify="left" if not place else "right")
    for row in zip(*_columns(outcome.points).values(), strict=True):
        table.add_row(*row)
    prediction = "predicted exactly" if outcome.exact else "predicted from the mean samples of NMT's stages"
    table.caption = f"NMT: trained and counted, each stage once. ≈: {prediction}."
    return table


def _points(
    parts: Sequence[PreparedExperiment], plans: Sequence[SweepPlan], sweeps: Sequence[GroupOutcome]
) -> tuple[CostPoint, ...]:
    nmt, grids = [], []
    for part, plan, sweep in zip(parts, plans, sweeps, strict=True):
        tasks, levels = len(part.spec.tasks), len(part.spec.levels)
        samples = samples_from_scratch(sweep.results)
        whole = all(result.finished for result in sweep.results)
        nmt.append(CostPoint(NMT, tasks, len(sweep.results), samples, measured=whole))
        each = samples / max(1, len({record.key for result in sweep.results for record in result.records}))
        if not whole:
            nmt[-1] = CostPoint(NMT, tasks, len(sweep.results), round(each * sweep_stages(plan, levels)), False)
        for points in dict.fromkeys((part.experiment.grid.points, *POINTS)):
            trials = WeightGrid(tasks, points).trials
            grids.append(CostPoint(f"grid, p = {points}", tasks, trials, round(each) * trials, measured=False))
    by_name = sorted(grids, key=lambda point: int(point.method.rpartition(" ")[2]))
    return (*nmt, *by_name)


def _columns(points: Sequence[CostPoint]) -> Mapping[str, list[str]]:
    """Return one column per method, and the ratio of the most expensive method to NMT."""
    names = list(dict.fromkeys(point.method for point in points))
    by_tasks = {tasks: {p.method: p for p in points if p.tasks == tasks} for tasks in {p.tasks: None for p in points}}
    columns: dict[str, list[str]] = {"tasks": [str(tasks) for tasks in by_tasks]}
    for name in names:
        columns[name] = [_samples_text(found[name]) for found in by_tasks.values()]
    columns[f"{names[-1]} : NMT"] = [
        times_text(found[names[-1]].samples, found[NMT].samples) if found[NMT].samples else "–"
        for found in by_tasks.values()
    ]
    return columns


def _samples_text(point: CostPoint) -> str:
    return count_text(point.samples) if point.measured else f"≈ {count_text(point.samples)}"


def _files(points: Sequence[CostPoint], exact: bool) -> Mapping[str, bytes]:
    columns = _columns(points)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in zip(*columns.values(), strict=True)]
    return {
        "figures/cost_against_tasks.png": png(cost_against_tasks(points, exact=exact)),
        "cost_curve.json": json.dumps([asdict(point) for point in points], indent=1).encode(),
        "cost_curve.md": ("\n".join(lines) + "\n").encode(),
        TABLE: json.dumps(columns).encode(),
    }
