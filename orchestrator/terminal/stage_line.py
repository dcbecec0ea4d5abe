"""A line of a log about an event of a stage: when there is one, and its fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from nmt.orchestrator.summary.limits import share_of_limit
from nmt.orchestrator.terminal.json_log import Level
from nmt.orchestrator.terminal.stage_progress import StageProgress, largest_multipliers
from nmt.orchestrator.terminal.stage_sentence import stage_sentence, stop_sentence
from nmt.trainers.records import Candidate, StageRecord, Verdict
from nmt.trainers.reporter import (
    CheckpointFailed,
    Evaluated,
    Event,
    Progress,
    StageAwaited,
    StageFinished,
    StageStarted,
)

LINE_SECONDS = 5.0
"""Shortest time between an evaluation's line and the line before it about the same stage."""

STEP_SECONDS = 60.0
"""A stage that had no line for so long gets one about its steps."""

MOST_TASKS = 12
"""Protected tasks in a line: those closest to their limits or beyond, or those with the largest λ; and tasks of the
joint start, by priority. Some collectors cut lines of more than 16 KiB."""


class Line(NamedTuple):
    """A line of a log: what a person reads, the event's stable name, what a program reads, and how bad it is."""

    message: str
    event: str
    fields: Mapping[str, Any]
    level: Level = "info"


def event_line(event: Event, stage: StageProgress, now: float) -> Line | None:
    """Return an event's line, or ``None`` if it comes too soon after the stage's last one.

    Args:
        event: The event.
        stage: Its stage, already updated with the event.
        now: The present time, on the stage's clock.
    """
    pause = STEP_SECONDS if isinstance(event, Progress) else LINE_SECONDS if isinstance(event, Evaluated) else 0.0
    if now - stage.reported < pause:
        return None
    stage.reported = now
    name, fields = _content(event, stage)
    level: Level = "warning" if isinstance(event, CheckpointFailed) else "info"
    return Line(stage_sentence(event, stage, now), name, fields, level)


def stop_line(stage: StageProgress, now: float) -> Line:
    """Return the line about a stage that was stopped before its end."""
    return Line(stop_sentence(stage, now), "stage_stopped", _position(stage), "warning")


def _content(event: Event, stage: StageProgress) -> tuple[str, dict[str, Any]]:
    match event:
        case StageAwaited():
            return "stage_awaited", _identity(stage)
        case StageStarted():
            begun = {"protected": event.protected, "resumed": event.resumed_step > 0}
            return "stage_started", _position(stage) | begun
        case Progress():
            shown = largest_multipliers(stage.multipliers, MOST_TASKS)
            return "step", _position(stage) | _training(stage, shown)
        case Evaluated():
            return "evaluation", _position(stage) | _evaluation(stage, event.candidate)
        case CheckpointFailed():
            return "checkpoint_failed", _position(stage) | {"step": event.step, "reason": event.reason}
        case StageFinished():
            record = event.record
            kept = {"held": record.held, "samples": record.samples, "wall_seconds": record.wall_seconds}
            if event.reused:
                return "stage_reused", _identity(stage) | kept
            return "stage_finished", _identity(stage) | kept | _result(record)


def _identity(stage: StageProgress) -> dict[str, Any]:
    return {"stage": stage.number, "tasks": stage.level, "key": stage.key}


def _position(stage: StageProgress) -> dict[str, Any]:
    return {**_identity(stage), "step": stage.step, "max_steps": stage.max_steps}


def _training(stage: StageProgress, protected: Collection[str]) -> dict[str, Any]:
    """Mean losses over the latest rows; violations and λ of the last one."""
    return {
        "losses": {"train": _select(stage.train_losses, (*protected, *_solved(stage)))},
        "violations": _select(stage.row.violations if stage.row is not None else {}, protected),
        "multipliers": _select(stage.multipliers, protected),
    }


def _evaluation(stage: StageProgress, candidate: Candidate) -> dict[str, Any]:
    limits = _limits(candidate.verdicts)
    shown = (*limits, *_solved(stage))
    training = _training(stage, limits)
    return {
        **training,
        "losses": {**training["losses"], "valid": _select(candidate.losses, shown)},
        "metrics": {"valid": _select(candidate.metrics, shown)},
        "limits": limits,
        "held": candidate.feasible,
        "accepted": candidate.accepted,
    }


def _result(record: StageRecord) -> dict[str, Any]:
    limits = _limits(record.verdicts)
    shown = (*limits, *_solved(record))
    return {
        "gained": record.gained,
        "accepted_step": record.accepted_step,
        "steps": record.steps,
        "ended_by": record.ended_by,
        "seconds": record.seconds,
        "workers": record.workers,
        "losses": {split: _select(values, shown) for split, values in record.losses.items()},
        "metrics": {split: _select(values, shown) for split, values in record.metrics.items()},
        "multipliers": _select(record.multipliers, limits),
        "limits": limits,
        "not_attainable": record.certificate.not_attainable if record.certificate is not None else (),
    }


def _solved(stage: StageProgress | StageRecord) -> Sequence[str]:
    """Tasks that a stage solves; the first of all tasks for the joint start."""
    return stage.level or tuple(stage.objective)[:MOST_TASKS]


def _limits(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """Task → what the rule compared on the validation split."""
    valid = [verdict for verdict in verdicts if verdict.split == "valid"]
    worst = sorted(valid, key=share_of_limit, reverse=True)
    shown = {verdict.task for verdict in worst[:MOST_TASKS]}
    return {
        verdict.task: {"difference": verdict.difference, "allowed": verdict.allowed, "held": verdict.held}
        for verdict in valid
        if verdict.task in shown
    }


def _select(values: Mapping[str, float], tasks: Collection[str]) -> dict[str, float]:
    return {task: values[task] for task in tasks if task in values}
