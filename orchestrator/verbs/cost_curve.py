"""Sweeps for growing numbers of tasks: the cost curve, measured for NMT and predicted for the grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.table import Table

from orchestrator.cluster.tuning.runner import TrialRunner
from orchestrator.comparison.build import samples_from_scratch
from orchestrator.comparison.cost_figure import cost_against_tasks
from orchestrator.comparison.costs import POINTS, sweep_stages
from orchestrator.comparison.files import TABLE, png
from orchestrator.comparison.numerals import count_text, times_text
from orchestrator.comparison.results import CostPoint
from orchestrator.errors import RequestError
from orchestrator.experiment.prepared import PreparedExperiment
from orchestrator.terminal.output import Output
from orchestrator.trials.forecast import Forecast
from orchestrator.trials.group_outcome import GroupOutcome
from orchestrator.trials.loss_weights import WeightGrid
from orchestrator.trials.sweep_plan import SweepPlan, plan_sweep
from orchestrator.verbs.sweep import run_sweep
from orchestrator.verbs.trial_group import GroupSession

NMT = "NMT"


@dataclass(frozen=True)
class ScalingOutcome:
    """Sweeps that ran, one for each number of tasks.

    Attributes:
        sweeps: The sweeps.
        group: The run that holds the curve.
        points: The curve: NMT measured, grids predicted.
        exact: Whether predictions are exact.
        folder: Where its files are.
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
    """The same experiment with only its first levels."""
    experiment = prepared.experiment.model_copy(update={"tasks": prepared.experiment.tasks[:number]})
    spec = experiment.chain(prepared.spec.data_fingerprint, prepared.spec.ingest)
    return replace(prepared, experiment=experiment, spec=spec)


def parse_numbers(text: str, prepared: PreparedExperiment) -> tuple[int, ...]:
    """Numbers of tasks such as ``2,4,8``, in order.

    Raises:
        RequestError: That is not what it is.
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


def run_scaling(
    prepared: PreparedExperiment, numbers: Sequence[int], runner: TrialRunner, output: Output
) -> ScalingOutcome:
    """Sweep the first tasks, then more of them, and draw what that costs.

    Raises:
        RequestError: There is nothing to sweep, or the cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user ended it; finished stages are kept.
    """
    parts = [first_levels(prepared, number) for number in numbers]
    plans = [plan_sweep(part) for part in parts]
    sweeps = tuple(run_sweep(part, plan, runner, output) for part, plan in zip(parts, plans, strict=True))
    points = _points(parts, plans, sweeps)
    exact = prepared.experiment.training.patience is None
    params = {"method": prepared.experiment.training.method, **plans[-1].params}
    tags = {"nmt.tasks": ",".join(map(str, numbers)), "nmt.sweep_runs": ",".join(s.run_id or "" for s in sweeps)}
    with GroupSession("comparison", "scaling", prepared, params, Forecast(), runner, output, tags) as session:
        folder = session.attach(_files(points, exact))
        return ScalingOutcome(sweeps, session.close(), points, exact, folder)


def scaling_table(outcome: ScalingOutcome) -> Table:
    """Samples by number of tasks, for a terminal."""
    table = Table(title="samples by number of tasks", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.caption_justify, table.caption_style = "left", ""
    for place, head in enumerate(_columns(outcome.points)):
        table.add_column(head, justify="left" if not place else "right")
    for row in zip(*_columns(outcome.points).values(), strict=True):
        table.add_row(*row)
    bound = "predicted, exactly" if outcome.exact else "predicted as so many samples a training as a stage took"
    table.caption = f"NMT: trained and counted, each stage once. ≈: {bound}."
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
    """A column per method, and how many times as many samples the dearest takes."""
    names = list(dict.fromkeys(point.method for point in points))
    by_tasks = {tasks: {p.method: p for p in points if p.tasks == tasks} for tasks in {p.tasks: None for p in points}}
    columns: dict[str, list[str]] = {"tasks": [str(tasks) for tasks in by_tasks]}
    for name in names:
        columns[name] = [_shown(found[name]) for found in by_tasks.values()]
    columns[f"{names[-1]} : NMT"] = [
        times_text(found[names[-1]].samples, found[NMT].samples) if found[NMT].samples else "–"
        for found in by_tasks.values()
    ]
    return columns


def _shown(point: CostPoint) -> str:
    return count_text(point.samples) if point.measured else f"≈ {count_text(point.samples)}"


def _files(points: Sequence[CostPoint], exact: bool) -> Mapping[str, bytes]:
    columns = _columns(points)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(row)} |" for row in zip(*columns.values(), strict=True)]
    return {
        "figures/cost_against_tasks.png": png(cost_against_tasks(points, exact=exact)),
        "scaling.json": json.dumps([asdict(point) for point in points], indent=1).encode(),
        "scaling.md": ("\n".join(lines) + "\n").encode(),
        TABLE: json.dumps(columns).encode(),
    }
