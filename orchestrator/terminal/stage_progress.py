"""How far the stages of a chain are, as their events tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nmt.orchestrator.summary.limits import worst_verdict
from nmt.orchestrator.summary.wording import nan_if_none
from nmt.trainers.records import Candidate, Row, StageRecord, Verdict
from nmt.trainers.reporter import (
    CheckpointFailed,
    Evaluated,
    Event,
    Progress,
    StageAwaited,
    StageFinished,
    StageStarted,
)


@dataclass
class StageProgress:
    """How far a stage is; times are in seconds, on the caller's clock.

    Attributes:
        index: Index of the stage, from 0.
        number: What people call it: 0 for the joint start, k for the stage of level k.
        count: Number of levels of the chain.
        level: Tasks that it solves; none for the joint start.
        objective: Task → weight in what it minimises; empty while unknown.
        state: ``awaited`` while another process trains it.
        key: Its memoisation key.
        restarted: Whether it started again because its process was lost.
        started: Time of its start.
        stopped: Time at which it was stopped before its end.
        anchor: Time and step of its first event after the start; speed is measured from there.
        step: Optimisation steps so far.
        max_steps: Most steps that it may take; 0 while unknown.
        row: The latest row of its history.
        train_losses: Task → loss, mean over the rows of the latest event.
        candidate: The latest evaluation.
        record: Its record, once it is finished.
        reported: Time of its latest line in a log.
    """

    index: int
    number: int
    count: int
    level: tuple[str, ...]
    objective: Mapping[str, float] = field(default_factory=dict)
    state: Literal["waiting", "awaited", "running", "done", "reused", "stopped"] = "waiting"
    key: str | None = None
    restarted: bool = False
    started: float = 0.0
    stopped: float | None = None
    anchor: tuple[float, int] | None = None
    step: int = 0
    max_steps: int = 0
    row: Row | None = None
    train_losses: Mapping[str, float] = field(default_factory=dict)
    candidate: Candidate | None = None
    record: StageRecord | None = None
    reported: float = -math.inf

    @property
    def train_loss(self) -> float:
        """Training loss of the level, or of the joint start's objective: latest minibatches, or at θ* once finished."""
        return self._loss(self.record.losses.get("train", {}) if self.record is not None else self.train_losses)

    @property
    def valid_loss(self) -> float:
        """Validation loss of the same: of the latest candidate, or at θ* once the stage is finished."""
        if self.record is not None:
            return self._loss(self.record.losses.get("valid", {}))
        return self._loss(self.candidate.losses if self.candidate is not None else {})

    @property
    def worst(self) -> Verdict | None:
        """Verdict on the protected task closest to its limit or furthest beyond it."""
        latest = self.record or self.candidate
        return worst_verdict(latest.verdicts) if latest is not None else None

    @property
    def multipliers(self) -> Mapping[str, float]:
        """Protected task → λ."""
        latest = self.record or self.row
        return latest.multipliers if latest is not None else {}

    def _loss(self, losses: Mapping[str, float]) -> float:
        weights = dict.fromkeys(self.level, 1.0) or self.objective
        if not weights:
            return math.nan
        return math.fsum(weight * nan_if_none(losses.get(task)) for task, weight in weights.items())

    def elapsed(self, now: float) -> float:
        """Return how long the stage has taken so far, or took."""
        if self.record is not None:
            return nan_if_none(self.record.wall_seconds)
        return (now if self.stopped is None else self.stopped) - self.started

    def seconds_left(self, now: float) -> float:
        """Return the time until the last step that the stage may take; NaN while its speed is unknown."""
        since, first = self.anchor or (now, self.step)
        steps, seconds = self.step - first, now - since
        if steps <= 0 or seconds <= 0 or not self.max_steps:
            return math.nan
        return (self.max_steps - self.step) * seconds / steps


class ChainProgress:
    """How far a chain is.

    Args:
        levels: Names of the tasks that each stage solves; none for the joint start.
    """

    def __init__(self, levels: Sequence[Sequence[str]]) -> None:
        first = 1 if levels and levels[0] else 0
        count = len(levels) - 1 + first
        self.stages = [StageProgress(index, first + index, count, tuple(level)) for index, level in enumerate(levels)]

    def update(self, event: Event, now: float) -> StageProgress:
        """Handle an event, and return its stage."""
        match event:
            case StageAwaited():
                stage = self.stages[event.stage]
                stage.state, stage.key = "awaited", event.key
            case StageStarted():
                stage = self._start(event, now)
            case Progress():
                stage = self._reach(event.stage, event.step, now)
                if event.rows:
                    stage.row, stage.train_losses = event.rows[-1], _mean_losses(event.rows)
            case Evaluated():
                stage = self._reach(event.stage, event.candidate.step, now)
                stage.candidate = event.candidate
            case CheckpointFailed():
                stage = self._reach(event.stage, event.step, now)
            case StageFinished():
                stage = self._finish(event)
        return stage

    def stop(self, now: float) -> list[StageProgress]:
        """Mark the stages that are running as stopped, and return them."""
        running = [stage for stage in self.stages if stage.state == "running"]
        for stage in running:
            stage.state, stage.stopped = "stopped", now
        return running

    def _start(self, event: StageStarted, now: float) -> StageProgress:
        before = self.stages[event.stage]
        stage = StageProgress(
            before.index, before.number, before.count, event.level, event.objective, "running", event.key
        )
        stage.restarted = before.state == "running"
        stage.started, stage.step, stage.max_steps = now, event.resumed_step, event.max_steps
        self.stages[event.stage] = stage
        return stage

    def _reach(self, index: int, step: int, now: float) -> StageProgress:
        stage = self.stages[index]
        if stage.state != "running":  # the display was opened late
            stage.state, stage.started = "running", now
        stage.anchor = stage.anchor or (now, step)
        stage.step = max(stage.step, step)  # after an interruption, earlier candidates are reported again
        return stage

    def _finish(self, event: StageFinished) -> StageProgress:
        record = event.record
        stage = self.stages[record.stage]
        stage.record, stage.key, stage.step = record, record.key, record.steps
        stage.level, stage.objective = record.level, record.objective
        if stage.state != "done":  # after a retry, a stage that this run trained is found again
            stage.state = "reused" if event.reused else "done"
        return stage


def largest_multipliers(multipliers: Mapping[str, float], most: int) -> dict[str, float]:
    """Return the largest multipliers, in the order given."""

    def size(task: str) -> float:
        value = nan_if_none(multipliers[task])
        return value if math.isfinite(value) else -math.inf

    largest = set(sorted(multipliers, key=size, reverse=True)[:most])
    return {task: value for task, value in multipliers.items() if task in largest}


def _mean_losses(rows: Sequence[Row]) -> dict[str, float]:
    return {task: math.fsum(nan_if_none(row.losses.get(task)) for row in rows) / len(rows) for task in rows[-1].losses}
