"""What a person reads about an event of a stage, in the plain text and as the JSON log's message."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nmt.orchestrator.summary.limits import against_limit
from nmt.orchestrator.summary.wording import (
    NOTHING,
    format_duration,
    format_multiplier,
    format_values,
    join_names,
    level_name,
)
from nmt.orchestrator.terminal.stage_progress import StageProgress, largest_multipliers
from nmt.trainers.records import Verdict
from nmt.trainers.reporter import (
    CheckpointFailed,
    Evaluated,
    Event,
    Progress,
    StageAwaited,
    StageFinished,
    StageStarted,
)

FEW_MULTIPLIERS = 2
"""Multipliers that are all shown; of more only the largest is."""


def stage_sentence(event: Event, stage: StageProgress, now: float) -> str:
    """Write an event as a sentence.

    Args:
        event: The event.
        stage: Its stage, already updated with the event.
        now: The present time, on the stage's clock.
    """
    return f"{_name(stage)}: {_predicate(event, stage, now)}"


def stop_sentence(stage: StageProgress, now: float) -> str:
    """Say how far a stage came that was stopped."""
    return f"{_name(stage)}: stopped after step {stage.step}, {format_duration(stage.elapsed(now))}"


def shown_multipliers(multipliers: Mapping[str, float]) -> Mapping[str, float]:
    """Return all of a few multipliers, by priority, and the largest of many."""
    return largest_multipliers(multipliers, len(multipliers) if len(multipliers) <= FEW_MULTIPLIERS else 1)


def format_time_left(stage: StageProgress, now: float) -> str:
    """Write the most time that the stage may still take, ``≤ 0:30``; a dash while its speed is unknown."""
    seconds = stage.seconds_left(now)
    return f"≤ {format_duration(seconds)}" if math.isfinite(seconds) else NOTHING


def _name(stage: StageProgress) -> str:
    return f"stage {stage.number}/{stage.count} {level_name(stage.level)}"


def _predicate(event: Event, stage: StageProgress, now: float) -> str:
    match event:
        case StageAwaited():
            return f"waits for {event.key}, which another process trains"
        case StageStarted():
            begun = f"goes on from step {event.resumed_step}" if event.resumed_step else "started"
            again = " again" if stage.restarted and not event.resumed_step else ""
            protects = f", protects {join_names(event.protected)}" if event.protected else ""
            return f"{begun}{again}, at most {event.max_steps} steps{protects}"
        case Progress():
            loss = f"loss {format_values(stage.train_loss)} train"
            return "; ".join([_steps(stage), loss, *_constraints(None, stage.multipliers), _times(stage, now)])
        case Evaluated():
            loss = f"loss {format_values(stage.train_loss)} train, {format_values(stage.valid_loss)} valid"
            return "; ".join([_steps(stage), loss, *_constraints(stage.worst, stage.multipliers), _times(stage, now)])
        case CheckpointFailed():
            return f"checkpoint at step {event.step} failed, training goes on: {event.reason}"
        case StageFinished():
            record = event.record
            how = f"reused {record.key}" if event.reused else f"done after step {record.steps} ({record.ended_by})"
            kept = f"accepted step {record.accepted_step}" if record.gained else "gained nothing, start kept"
            place = record.accepted_evaluation
            kept = f"{kept}, its {place} evaluation" if place in ("first", "last") else kept
            loss = f"loss {format_values(stage.valid_loss)} valid"
            duration = format_duration(stage.elapsed(now))
            return "; ".join([how, kept, loss, *_constraints(stage.worst, record.multipliers), duration])


def _steps(stage: StageProgress) -> str:
    return f"step {stage.step}/{stage.max_steps}"


def _times(stage: StageProgress, now: float) -> str:
    return f"{format_duration(stage.elapsed(now))}, {format_time_left(stage, now)} left"


def _constraints(worst: Verdict | None, multipliers: Mapping[str, float]) -> list[str]:
    parts = [f"{worst.task} {against_limit(worst)}"] if worst is not None else []
    shown = [f"{task} {format_multiplier(value)}" for task, value in shown_multipliers(multipliers).items()]
    return [*parts, f"λ {'  '.join(shown)}"] if shown else parts
