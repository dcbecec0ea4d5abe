"""Events of the stage loop, and the interface that receives them; neither Ray nor MLflow is known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainers.records import Candidate, Row, StageRecord


@dataclass(frozen=True)
class StageAwaited:
    """Another process is training this stage; the chain waits for its result.

    Attributes:
        stage: Index of the stage.
        key: Its memoisation key.
        level: Tasks that it minimises.
    """

    stage: int
    key: str
    level: tuple[str, ...]


@dataclass(frozen=True)
class StageStarted:
    """A stage is about to be trained.

    Attributes:
        stage: Index of the stage.
        key: Its memoisation key.
        level: Tasks that it minimises.
        protected: Tasks that it protects.
        max_steps: Most optimisation steps that it can take.
        resumed_step: Steps already taken, when it resumes from a checkpoint.
    """

    stage: int
    key: str
    level: tuple[str, ...]
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
