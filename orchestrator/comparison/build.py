"""Builds a comparison from the outcomes of its groups of trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nmt.orchestrator.comparison.costs import cost_points
from nmt.orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison, MethodRow
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.extrapolation import extrapolate
from nmt.orchestrator.trials.grid_plan import GridPlan
from nmt.orchestrator.trials.group_ledger import higher_is_better, shown_value
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.guarantee import Rule, Standing, guarantee
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.sweep_plan import SweepPlan
from nmt.orchestrator.trials.trial import Source, TrialResult
from nmt.trainers.spec.task import Task
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class Parts:
    """The parts of a comparison.

    Attributes:
        sweep_plan: Plan of the sweep.
        sweep: Outcome of NMT's sweep.
        grid_plan: Plan of the grid.
        grid: Outcome of the grid of loss weights, with its baselines.
        methods: Results of the named methods, one trial each.
    """

    sweep_plan: SweepPlan
    sweep: GroupOutcome
    grid_plan: GridPlan
    grid: GroupOutcome
    methods: tuple[TrialResult, ...]


def build_comparison(prepared: PreparedExperiment, parts: Parts) -> Comparison:
    """Build a comparison.

    Args:
        prepared: The experiment.
        parts: The parts to compare.
    """
    experiment, levels = prepared.experiment, prepared.spec.levels
    winner = parts.sweep.winner
    judge = _Judge(prepared, winner)
    tried = _reached_last_stage(parts.sweep.results)
    grid, baselines = parts.grid.of("grid"), parts.grid.of("baseline")
    models = [
        *_models(tried, "sweep", winner, levels, judge),
        *_models(grid, "grid", parts.grid.winner, levels, judge),
        *(model for result in (*baselines, *parts.methods) for model in _single(result, levels, judge)),
    ]
    rows = [
        _row(f"NMT, {parts.sweep_plan.name}", "sweep", parts.sweep.results, models),
        _row(_grid_name(parts.grid_plan), "grid", grid, models, parts.grid_plan.grid.trials),
        *(_row(result.trial.label, result.trial.source, (result,), models) for result in (*baselines, *parts.methods)),
    ]
    whole = all(result.finished for result in parts.sweep.results)
    return Comparison(
        name=experiment.name,
        data=experiment.data.source or str(experiment.data.path),
        tasks=tuple(
            ComparedTask(task.name, number + 1, _metric_name(task), higher_is_better(task))
            for number, level in enumerate(levels)
            for task in level
        ),
        models=tuple(models),
        rows=tuple(rows),
        costs=cost_points(prepared, parts.sweep_plan, rows, whole=whole),
        chain=winner.records if winner is not None else (),
        exact_samples=experiment.training.patience is None,
    )


def samples_from_scratch(results: Iterable[TrialResult]) -> int:
    """Return the training examples of all stages, counting once a stage that several trials share."""
    return sum({record.key: record.samples for result in results for record in result.records}.values())


class _Judge:
    """Judges a chain of NMT by its own optima, and any other model by those of NMT's winning chain."""

    def __init__(self, prepared: PreparedExperiment, reference: TrialResult | None) -> None:
        training = prepared.spec.training
        self._rule = Rule(prepared.spec.levels, training.accept_standard_errors, training.accept_on)
        self._reference = reference
        self._held_out = HeldOut(StageStore(prepared.experiment.storage))

    def of(self, result: TrialResult) -> Standing:
        """Return whether a model keeps the limits of the protected tasks."""
        solved = sum(bool(record.level) for record in result.records)
        own = result.trial.source == "sweep" or solved == len(self._rule.levels) > 1
        reference = result if own else self._reference
        if reference is None:
            return Standing("unknown", ())
        return guarantee(result, reference, self._rule, self._held_out)


def _reached_last_stage(results: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the finished trials of a greedy sweep's last stage; the others are prefixes of these."""
    reached = max((len(result.records) for result in results if result.finished), default=0)
    return tuple(result for result in results if result.finished and len(result.records) == reached)


def _models(
    results: Sequence[TrialResult],
    source: Source,
    winner: TrialResult | None,
    levels: Sequence[Sequence[Task]],
    judge: _Judge,
) -> list[ComparedModel]:
    return [_model(result, source, result is winner, levels, judge) for result in results if result.finished]


def _single(result: TrialResult, levels: Sequence[Sequence[Task]], judge: _Judge) -> list[ComparedModel]:
    return _models((result,), result.trial.source, result, levels, judge)


def _model(
    result: TrialResult, source: Source, wins: bool, levels: Sequence[Sequence[Task]], judge: _Judge
) -> ComparedModel:
    tasks = [task for level in levels for task in level]
    shown = {
        split: {task.name: value for task in tasks if (value := shown_value(task, result, split)) is not None}
        for split in ("valid", "test")
    }
    standing = judge.of(result)
    return ComparedModel(
        label=result.trial.label,
        source=source,
        method=result.trial.method,
        eta_theta=result.trial.eta_theta,
        eta_lambda=result.trial.eta_lambda,
        weights=result.trial.weights,
        valid=shown["valid"],
        test=shown["test"],
        test_loss=dict(result.records[-1].losses["test"]),
        guarantee=standing.status,
        verdicts=standing.verdicts,
        winner=wins,
        cost=result.cost,
    )


def _row(
    name: str,
    source: Source,
    results: Sequence[TrialResult],
    models: Sequence[ComparedModel],
    whole: int | None = None,
) -> MethodRow:
    labels = {result.trial.label for result in results}
    chosen = [model for model in models if model.source == source and model.winner and model.label in labels]
    extrapolation = extrapolate(whole or 0, results)
    return MethodRow(
        name=name,
        source=source,
        cost=sum((result.cost for result in results), Cost()),
        chosen=chosen[0] if chosen else None,
        planned_trials=len(results) if whole is None else whole,
        planned_samples=samples_from_scratch(results) if extrapolation is None else extrapolation.samples,
        planned_worker_seconds=sum(
            {r.key: r.wall_seconds * r.workers for result in results for r in result.records}.values()
        ),
    )


def _grid_name(plan: GridPlan) -> str:
    normalised = ", normalised" if plan.grid.normalised else ""
    return f"grid, {plan.grid.points} weights a task{normalised}"


def _metric_name(task: Task) -> str:
    return task.metric.rpartition(":")[2] or "loss"
