"""Events of the stage loop, and the interface that receives them; neither Ray nor MLflow is known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from nmt.trainers.records import Candidate, Row, StageRecord


@dataclass(frozen=True)
class StageAwaited:
    """Another process is training this stage; the chain waits for its result.

    Attributes:
        stage: Place of the stage in its chain, from 0.
        number: What people call it: 0 for the joint start, k for the stage that solves level k.
        key: Its memoisation key.
        level: Tasks that it solves; none for the joint start.
    """

    stage: int
    number: int
    key: str
    level: tuple[str, ...]


@dataclass(frozen=True)
class StageStarted:
    """A stage is about to be trained.

    Attributes:
        stage: Place of the stage in its chain, from 0.
        number: What people call it: 0 for the joint start, k for the stage that solves level k.
        key: Its memoisation key.
        level: Tasks that it solves; none for the joint start.
        objective: Task → weight in the objective.
        protected: Tasks that it holds.
        max_steps: Maximum number of optimisation steps.
        resumed_step: Steps that it had taken before, when it goes on from a checkpoint.
    """

    stage: int
    number: int
    key: str
    level: tuple[str, ...]
    objective: Mapping[str, float]
    protected: tuple[str, ...]
    max_steps: int
    resumed_step: int = 0


@dataclass(frozen=True)
class Progress:
    """Optimisation steps were taken.

    Attributes:
        stage: Index of the stage.
        step: Steps of the stage so far.
        rows: Rows of the history since the last event.
    """

    stage: int
    step: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Evaluated:
    """A candidate was evaluated.

    Attributes:
        stage: Index of the stage.
        candidate: The candidate and its verdicts.
    """

    stage: int
    candidate: Candidate


@dataclass(frozen=True)
class CheckpointFailed:
    """A checkpoint could not be written; training continues, and earlier checkpoints are unchanged.

    Attributes:
        stage: Index of the stage.
        step: Steps of the stage so far.
        reason: The error.
    """

    stage: int
    step: int
    reason: str


@dataclass(frozen=True)
class StageFinished:
    """A stage is finished.

    Attributes:
        record: The record.
        reused: Whether the stage was found in the storage rather than trained.
    """

    record: StageRecord
    reused: bool


Event = StageAwaited | StageStarted | Progress | Evaluated | CheckpointFailed | StageFinished


class Reporter(Protocol):
    """Receives the events, in order, on the first worker."""

    def report(self, event: Event) -> None:
        """Handle an event; must not raise and should not block."""


class NullReporter:
    """A reporter that drops everything."""

    def report(self, event: Event) -> None:
        """Drop the event."""
