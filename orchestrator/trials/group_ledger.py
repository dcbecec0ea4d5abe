"""Ledger of a group of trials: their total cost, and the best result so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import TrialResult
from nmt.orchestrator.trials.winner import lexicographic_winner
from nmt.trainers.registry import METRICS, resolve
from nmt.trainers.spec.task import Level, Task


@dataclass(frozen=True)
class Snapshot:
    """State of a group after a trial: one point of its cumulative curves.

    Attributes:
        trials: Trials that ended so far.
        cost: Their total cost; ``wall_seconds`` since the group's start.
        best: Task → best validation metric so far over all trials but the baselines; the loss of a task without a
            metric.
        winner: Task → validation metric of the lexicographic winner so far.
    """

    trials: int
    cost: Cost
    best: Mapping[str, float]
    winner: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """Return MLflow metrics: ``cost/…``, ``best/TASK`` and ``winner/TASK``."""
        return {
            **self.cost.metrics(),
            **{f"best/{task}": value for task, value in self.best.items()},
            **{f"winner/{task}": value for task, value in self.winner.items()},
        }


@dataclass
class GroupLedger:
    """Adds up the trials of a group as they end.

    Attributes:
        levels: Tasks by priority.
        held_out: Validation samples of the trials, which decide the winner.
        results: Results so far.
    """

    levels: Sequence[Level]
    held_out: HeldOut
    results: list[TrialResult] = field(default_factory=list)
    _best: dict[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """Total cost of the trials, without wall time."""
        return sum((replace(result.cost, wall_seconds=0.0) for result in self.results), Cost())

    @property
    def winner(self) -> TrialResult | None:
        """The lexicographic winner so far."""
        names = [[task.name for task in level] for level in self.levels]
        finished = [result for result in self.results if result.finished and result.records and _competes(result)]
        # In a greedy sweep, trials of later stages supersede those of earlier ones. Stage k solves level k.
        reached = max((result.records[-1].number for result in finished if result.trial.stages), default=0)
        if reached:
            finished = [result for result in finished if result.records[-1].number == reached]
            names = names[:reached]
        return lexicographic_winner(finished, names, self.held_out)

    def add(self, result: TrialResult, wall_seconds: float) -> Snapshot:
        """Add a trial that ended.

        Args:
            result: The trial.
            wall_seconds: Seconds since the group's start.
        """
        self.results.append(result)
        tasks = [task for level in self.levels for task in level]
        if result.finished and _competes(result):
            for task in tasks:
                value = shown_value(task, result, "valid")
                if value is None or not math.isfinite(value):  # NaN would be both the highest and the lowest
                    continue
                known = self._best.get(task.name)
                better = max if higher_is_better(task) else min
                self._best[task.name] = value if known is None else better(value, known)
        winner = self.winner
        values = {task.name: shown_value(task, winner, "valid") for task in tasks} if winner is not None else {}
        return Snapshot(
            trials=len(self.results),
            cost=replace(self.cost, wall_seconds=wall_seconds),
            best=dict(self._best),
            winner={name: value for name, value in values.items() if value is not None},
        )


def _competes(result: TrialResult) -> bool:
    """Return whether a trial can win: baselines are trained beside a grid for reference only."""
    return result.trial.source != "baseline"


def shown_value(task: Task, result: TrialResult, split: str) -> float | None:
    """Return a task's metric at the end of a trial, its loss where it has no metric, ``None`` where it is unknown."""
    if not result.records:
        return None
    record = result.records[-1]
    values = record.metrics[split] if task.metric else record.losses[split]
    return values.get(task.name)


def higher_is_better(task: Task) -> bool:
    """Return the direction of :func:`shown_value`; higher is better for a metric that does not declare it."""
    if not task.metric:
        return False
    return bool(getattr(resolve("metric", task.metric, METRICS), "higher_is_better", True) is not False)
