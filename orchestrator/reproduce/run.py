"""Trains a study of the paper, and makes its table and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.comparison.files import TABLE, png
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.figures.losses import losses_against_optima
from nmt.orchestrator.figures.multipliers import multiplier_trajectory
from nmt.orchestrator.reproduce.front import study_front
from nmt.orchestrator.reproduce.study import Content, Study, experiment_of
from nmt.orchestrator.reproduce.table import AVERAGE, Estimate, Line, StudyTable
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.forecast import forecast
from nmt.orchestrator.trials.group_ledger import shown_value
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.trial import Trial, TrialResult
from nmt.orchestrator.verbs.trial_group import GroupSession
from nmt.trainers.spec.task import Task
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class Place:
    """A trial's place in a study's table."""

    row: str
    arm: str
    seed: int


@dataclass(frozen=True)
class Reproduced:
    """Result of a study.

    Attributes:
        table: Its table.
        group: Outcome of its trials.
        folder: Folder of its files.
    """

    table: StudyTable
    group: GroupOutcome
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready content."""
        return {
            "title": self.table.title,
            "columns": self.table.columns(),
            "folder": self.folder,
            "group": self.group.to_dict(),
        }


def study_trials(
    study: Study, content: Content, preset: str | None, prepared: PreparedExperiment, seeds: int
) -> dict[Place, Trial]:
    """Return every trial of a study.

    Raises:
        RequestError: A trial's experiment is not valid.
    """
    trials = {}
    for row in study.rows:
        for name, arm in study.arms.items():
            for seed in range(seeds):
                experiment = experiment_of(study, content, preset, row, arm, seed)
                spec = experiment.chain(prepared.spec.data_fingerprint, prepared.spec.ingest)
                spec.check()
                label = f"{row + ', ' if row else ''}{name}, seed {seed}"
                method = experiment.training.method
                stages = None if arm.stages is None else int(spec.has_joint_start) + arm.stages
                trials[Place(row, name, seed)] = Trial(label, "method", spec, method, arm.weights, stages)
    return trials


def run_study(
    name: str,
    title: str,
    study: Study,
    prepared: PreparedExperiment,
    trials: Mapping[Place, Trial],
    runner: TrialRunner,
    output: Output,
) -> Reproduced:
    """Train a study, and make its table and figures.

    Args:
        name: Name of the study.
        title: Its title, with data and preset.
        study: The study.
        prepared: The experiment on which its trials are based.
        trials: Its trials.
        runner: Runs the trials.
        output: Where progress is shown.

    Raises:
        RequestError: The cluster cannot hold one trial.
        RunError: Ray cannot be started.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    planned = forecast(list(trials.values()), prepared.schema, StageStore(prepared.experiment.storage))
    params = {"method": "several", "eta_theta": "several", "eta_lambda": "several", "weights": "several"}
    tags = {"nmt.study": name, "nmt.title": title}
    with GroupSession("comparison", name, prepared, params, planned, runner, output, tags) as session:
        found = dict(zip(trials, session.run(list(trials.values())), strict=True))
        table = study_table(title, study, prepared.spec.tasks, found)
        folder = session.attach(_files(study, table, prepared.spec.tasks, found))
        return Reproduced(table, session.close(), folder)


def study_table(title: str, study: Study, tasks: Sequence[Task], found: Mapping[Place, TrialResult]) -> StudyTable:
    """Return the table of a study: means over seeds, and differences paired by seed."""
    names = [task.name for task in tasks]
    columns = (*names, AVERAGE) if study.average else tuple(names)
    values = {place: _values(tasks, result, study.average) for place, result in found.items() if result.finished}
    lines = []
    for row in study.rows:
        for arm in study.arms:
            mine = {place.seed: value for place, value in values.items() if (place.row, place.arm) == (row, arm)}
            others = {
                place.seed: value
                for place, value in values.items()
                if (place.row, place.arm) == (row, study.reference) and arm != study.reference
            }
            both = [seed for seed in mine if seed in others]
            differences = {
                task: Estimate.of([mine[seed][task] - others[seed][task] for seed in both]) for task in columns if both
            }
            results = [found[Place(row, arm, seed)] for seed in mine]
            lines.append(
                Line(
                    row=row,
                    arm=arm,
                    values={task: Estimate.of([value[task] for value in mine.values()]) for task in columns},
                    differences=differences,
                    printed=study.printed.get(row, {}).get(arm, {}),
                    held=_count_held(results),
                    seeds=len(mine),
                )
            )
    metrics = {task.metric.rpartition(":")[2] or "loss" for task in tasks}
    metric = metrics.pop() if len(metrics) == 1 else "metric"
    return StudyTable(title, columns, metric, study.reference, tuple(lines), study.agreement)


def _values(tasks: Sequence[Task], result: TrialResult, average: bool) -> dict[str, float]:
    shown = {task.name: shown_value(task, result, "test") for task in tasks}
    values = {name: float("nan") if value is None else value for name, value in shown.items()}
    return {**values, AVERAGE: sum(values.values()) / len(values)} if average else values


def _count_held(results: Sequence[TrialResult]) -> int | None:
    if not any(result.records[-1].protected for result in results):
        return None
    return sum(result.records[-1].held for result in results)


def _files(
    study: Study, table: StudyTable, tasks: Sequence[Task], found: Mapping[Place, TrialResult]
) -> Mapping[str, bytes]:
    files = {
        "table.md": table.markdown().encode(),
        "table.json": json.dumps([asdict(line) for line in table.lines], indent=1).encode(),
        TABLE: json.dumps(table.columns()).encode(),
    }
    chain = next((r.records for p, r in found.items() if p.seed == 0 and r.finished and r.records[-1].protected), None)
    if study.figure == "front":
        files["figures/front.png"] = png(study_front(table, tasks))
    if study.figure == "trajectories" and chain is not None:
        files["figures/multipliers.png"] = png(multiplier_trajectory(chain))
        files["figures/losses_against_optima.png"] = png(losses_against_optima(chain))
    return files
