"""How the stage loop tells the world what it does; it knows neither Ray nor MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainers.records import Candidate, Row, StageRecord


@dataclass(frozen=True)
class StageAwaited:
    """Another process trains this very stage; its result is waited for.

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
        protected: Tasks that it holds.
        max_steps: Most optimisation steps that it may take.
        resumed_step: Steps that it had taken before, when it goes on from a checkpoint.
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
        rows: Rows of history since the last event.
    """

    stage: int
    step: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Evaluated:
    """A candidate was evaluated.

    Attributes:
        stage: Index of the stage.
        candidate: What was found.
    """

    stage: int
    candidate: Candidate


@dataclass(frozen=True)
class CheckpointFailed:
    """A checkpoint could not be written; training goes on, and earlier checkpoints are as they were.

    Attributes:
        stage: Index of the stage.
        step: Steps of the stage so far.
        reason: Why.
    """

    stage: int
    step: int
    reason: str


@dataclass(frozen=True)
class StageFinished:
    """A stage has its record.

    Attributes:
        record: The record.
        reused: Whether it was found under its key rather than trained.
    """

    record: StageRecord
    reused: bool


Event = StageAwaited | StageStarted | Progress | Evaluated | CheckpointFailed | StageFinished


class Reporter(Protocol):
    """Receives events, in order, on the first worker."""

    def report(self, event: Event) -> None:
        """Take note of an event; must not raise and should not block."""


class NullReporter:
    """A reporter that drops everything."""

    def report(self, event: Event) -> None:
        """Drop the event."""
