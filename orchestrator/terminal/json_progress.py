"""How far a chain or a group of trials is, as JSON lines: sentences and pace of the plain text, with their numbers."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from orchestrator.summary.limits import share_used
from orchestrator.summary.wording import level_name, nan_if_none
from orchestrator.terminal.chain_display import ProgressDisplay
from orchestrator.terminal.group_display import GroupDisplay
from orchestrator.terminal.json_log import JsonLog, Level
from orchestrator.trials.forecast import Forecast
from orchestrator.trials.trial import Trial, TrialResult
from trainers.records import Row, Verdict
from trainers.reporter import CheckpointFailed, Evaluated, Event, Progress, StageAwaited, StageFinished, StageStarted

STEP_SECONDS = 60.0
"""A stage of which nothing else was told for so long has a line for its steps."""

MOST_TASKS = 12
"""Protected tasks in a line: those closest to their limits or beyond, or those with the largest λ. Some collectors cut
lines of more than 16 KiB."""


class JsonChainDisplay:
    """Writes a chain's events: those of which the plain text tells, at its pace, and ``step`` when it is long silent.

    Args:
        levels: Names of the tasks, by priority.
        log: Where to.
        clock: Seconds.
    """

    def __init__(self, levels: Sequence[Sequence[str]], log: JsonLog, clock: Callable[[], float]) -> None:
        self._sentences = _Sentences(clock)
        self._text = ProgressDisplay(levels, self._sentences.console)
        self._stages = _Stages(clock)
        self._log = log
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._text.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._text.__exit__(kind, error, traceback)
            if sentence := self._sentences.taken():
                self._log.write("stage_stopped", sentence, "warning", **self._stages.present)

    def show(self, event: Event) -> None:
        """Write what the event tells, if that is due."""
        with self._lock:
            self._text.show(event)
            sentence, late = self._sentences.taken(), self._stages.take(event)
            if sentence is None and late:
                sentence = self._stages.sentence
            if sentence is not None:
                self._stages.told()
                self._log.write(_name(event), sentence, _level(event), **self._stages.fields(event))


class JsonGroupDisplay:
    """Writes a group's events, each with its trial: as the plain text, and what that has in its bars.

    Args:
        name: What the group is called.
        log: Where to.
        expected: What it is expected to cost.
        clock: Seconds.
    """

    def __init__(self, name: str, log: JsonLog, expected: Forecast, clock: Callable[[], float]) -> None:
        self._sentences = _Sentences(clock)
        self._text = GroupDisplay(name, self._sentences.console, expected)
        self._trials: dict[int, Trial] = {}
        self._running: dict[int, _Stages] = {}
        self._log = log
        self._clock = clock
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._text.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._text.__exit__(kind, error, traceback)

    def add(self, trials: Mapping[int, Trial]) -> None:
        """Trials that are to run, by number."""
        with self._lock:
            self._trials.update(trials)
            self._text.add(trials)

    def show(self, trial: int, event: Event) -> None:
        """Write what the event tells, if that is due."""
        with self._lock:
            label = self._trials[trial].label
            if trial not in self._running:
                self._running[trial] = _Stages(self._clock)
                self._write("trial_started", f"{label}: started", trial, params=self._trials[trial].params)
            stages = self._running[trial]
            self._text.show(trial, event)
            sentence, late = self._sentences.taken(), stages.take(event)
            if sentence is None and (late or not isinstance(event, Progress | Evaluated)):
                sentence = f"{label}: {stages.sentence}"
            if sentence is not None:
                stages.told()
                self._write(_name(event), sentence, trial, _level(event), **stages.fields(event))

    def end(self, trial: int, result: TrialResult) -> None:
        """A trial has ended."""
        with self._lock:
            self._running.pop(trial, None)
            self._text.end(trial, result)
            level: Level = {"failed": "error", "finished": "info"}.get(result.status, "warning")  # type: ignore[assignment]
            held = result.records[-1].held if result.finished else None
            fields = {"status": result.status, "reason": result.reason or None, "held": held}
            sentence = self._sentences.taken() or result.status
            self._write("trial_ended", sentence, trial, level, **fields, cost=asdict(result.cost))

    def _write(self, event: str, message: str, trial: int, level: Level = "info", **fields: Any) -> None:
        self._log.write(event, message, level, trial=self._trials[trial].label, trial_number=trial + 1, **fields)


class _Sentences:
    """What a display prints where there is no terminal."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._file = io.StringIO()
        self.console = Console(
            file=self._file, force_terminal=False, force_interactive=False, color_system=None, get_time=clock
        )

    def taken(self) -> str | None:
        """What was printed since the last time."""
        text = self._file.getvalue().strip()
        self._file.seek(0)
        self._file.truncate()
        return text or None


class _Stages:
    """What is known of a chain's stage under way, for the fields of its lines."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spoken = clock()
        self._rows: tuple[Row, ...] = ()
        self.present: dict[str, Any] = {}
        self.sentence = ""

    def take(self, event: Event) -> bool:
        """Take in an event; whether nothing was told for long."""
        match event:
            case StageAwaited() | StageStarted():
                verb = "waits for another process" if isinstance(event, StageAwaited) else "started"
                self.present = {"stage": event.stage + 1, "tasks": event.level, "key": event.key}
                self._rows = ()
                self.sentence = f"stage {event.stage + 1} {level_name(event.level)}: {verb}"
                if isinstance(event, StageStarted):
                    self.present |= {"step": event.resumed_step, "max_steps": event.max_steps}
            case Progress():
                self._at(event.stage, event.step)
                self._rows = event.rows or self._rows
            case Evaluated():
                self._at(event.stage, event.candidate.step)
            case StageFinished():
                record = event.record
                self.present = {"stage": record.stage + 1, "tasks": record.level, "key": record.key}
                self.sentence = f"stage {record.stage + 1} {level_name(record.level)}: reused {record.key}"
        return isinstance(event, Progress) and self._clock() - self._spoken >= STEP_SECONDS

    def told(self) -> None:
        """A line was written."""
        self._spoken = self._clock()

    def fields(self, event: Event) -> dict[str, Any]:
        """The numbers of an event."""
        match event:
            case StageStarted():
                found: dict[str, Any] = {"protected": event.protected, "resumed": event.resumed_step > 0}
            case Progress():
                found = self._of_rows(())
            case Evaluated():
                limits = _limits(event.candidate.verdicts)
                found = self._of_rows(tuple(limits))
                found["losses"]["valid"] = self._of_stage(event.candidate.losses, limits)
                found["metrics"] = {"valid": self._of_stage(event.candidate.metrics, limits)}
                found |= {"limits": limits, "held": event.candidate.feasible, "accepted": event.candidate.accepted}
            case CheckpointFailed():
                found = {"step": event.step, "reason": event.reason}
            case StageFinished():
                found = self._of_record(event)
            case _:
                found = {}
        return {**self.present, **found}

    def _at(self, stage: int, step: int) -> None:
        steps = {"step": max(step, self.present.get("step", 0))}
        same = self.present.get("stage") == stage + 1
        self.present = {**self.present, **steps} if same else {"stage": stage + 1, "step": step}
        most = self.present.get("max_steps")
        name = level_name(self.present.get("tasks", ())) if same else ""
        self.sentence = f"stage {stage + 1} {name}: step {step}" + (f"/{most}" if most else "")

    def _of_rows(self, protected: Sequence[str]) -> dict[str, Any]:
        """Losses of the minibatches since the last event, λ and violations of the latest."""
        if not self._rows:
            return {"losses": {}}
        last = self._rows[-1]
        shown = protected or _largest(last.multipliers)
        losses = {
            task: math.fsum(nan_if_none(row.losses.get(task)) for row in self._rows) / len(self._rows)
            for task in last.losses
        }
        return {
            "losses": {"train": self._of_stage(losses, shown)},
            "violations": _only(last.violations, shown),
            "multipliers": _only(last.multipliers, shown),
        }

    def _of_stage(self, values: Mapping[str, float], protected: Sequence[str] | Mapping[str, Any]) -> dict[str, float]:
        return _only(values, (*protected, *self.present.get("tasks", ())))

    def _of_record(self, event: StageFinished) -> dict[str, Any]:
        record = event.record
        kept = {"held": record.held, "samples": record.samples, "wall_seconds": record.wall_seconds}
        if event.reused:
            return kept
        limits = _limits(record.verdicts)
        certificate = record.certificate
        return {
            **kept,
            "gained": record.gained,
            "accepted_step": record.accepted_step,
            "steps": record.steps,
            "ended_by": record.ended_by,
            "seconds": record.seconds,
            "workers": record.workers,
            "losses": {split: self._of_stage(values, limits) for split, values in record.losses.items()},
            "metrics": {split: self._of_stage(values, limits) for split, values in record.metrics.items()},
            "multipliers": _only(record.multipliers, tuple(limits)),
            "limits": limits,
            "not_attainable": certificate.not_attainable if certificate is not None else (),
        }


def _name(event: Event) -> str:
    match event:
        case StageAwaited():
            return "stage_awaited"
        case StageStarted():
            return "stage_started"
        case Progress():
            return "step"
        case Evaluated():
            return "evaluation"
        case CheckpointFailed():
            return "checkpoint_failed"
        case StageFinished():
            return "stage_reused" if event.reused else "stage_finished"


def _level(event: Event) -> Level:
    return "warning" if isinstance(event, CheckpointFailed) else "info"


def _limits(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """Validation verdicts by task: what the rule compared."""
    valid = [verdict for verdict in verdicts if verdict.split == "valid"]
    shown = {verdict.task for verdict in sorted(valid, key=_share_used, reverse=True)[:MOST_TASKS]}
    return {
        verdict.task: {"difference": verdict.difference, "allowed": verdict.allowed, "held": verdict.held}
        for verdict in valid
        if verdict.task in shown
    }


def _share_used(verdict: Verdict) -> float:
    return share_used(verdict.difference, verdict.allowed)


def _largest(multipliers: Mapping[str, float]) -> tuple[str, ...]:
    def size(task: str) -> float:
        value = nan_if_none(multipliers[task])
        return value if math.isfinite(value) else math.inf

    shown = set(sorted(multipliers, key=size, reverse=True)[:MOST_TASKS])
    return tuple(task for task in multipliers if task in shown)


def _only(values: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    return {task: values[task] for task in tasks if task in values}
