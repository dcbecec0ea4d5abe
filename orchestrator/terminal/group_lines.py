"""How far a group of trials is, line by line: plain text where there is no terminal, and the JSON log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Self

from nmt.orchestrator.terminal.json_log import Level
from nmt.orchestrator.terminal.stage_line import Line, event_line
from nmt.orchestrator.terminal.stage_progress import ChainProgress, StageProgress
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.trial import Trial, TrialResult
from nmt.trainers.reporter import CheckpointFailed, Evaluated, Event, StageFinished, StageStarted

_LEVELS: Mapping[str, Level] = {"finished": "info", "diverged": "warning", "stopped": "warning", "failed": "error"}


class GroupLines:
    """Writes the lines of trials' events, but for evaluations. People read those of results and interruptions alone.

    Args:
        expected: What the group is expected to cost.
        say: Reports a line to everybody: :meth:`~nmt.orchestrator.terminal.output.Output.say`.
        note: Reports a line to programs alone.
        clock: Seconds.
    """

    def __init__(
        self, expected: Forecast, say: Callable[..., None], note: Callable[..., None], clock: Callable[[], float]
    ) -> None:
        self._expected = expected
        self._say = say
        self._note = note
        self._clock = clock
        self._trials: dict[int, Trial] = {}
        self._running: dict[int, ChainProgress] = {}
        self._ended = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, trials: Mapping[int, Trial]) -> None:
        """Add trials that are to run, by number."""
        with self._lock:
            self._trials.update(trials)

    def show(self, trial: int, event: Event) -> None:
        """Handle an event of a trial, and write its line if it is due."""
        with self._lock:
            if trial not in self._running:
                self._running[trial] = ChainProgress(self._trials[trial].levels)
                self._write_note(trial, Line("started", "trial_started", {"params": self._trials[trial].params}))
            now = self._clock()
            stage = self._running[trial].update(event, now)
            line = None if isinstance(event, Evaluated) else event_line(event, stage, now)
            if line is not None and _is_for_people(event, stage):
                self._write(trial, line)
            elif line is not None:
                self._write_note(trial, line)

    def end(self, trial: int, result: TrialResult) -> None:
        """Handle the end of a trial."""
        with self._lock:
            self._running.pop(trial, None)
            self._ended += 1
            message = result.status + (f": {result.reason}" if result.reason else "")
            if result.finished:
                message = f"finished, {result.cost.stages} stages trained, {result.cost.stages_reused} reused"
            fields = {
                "status": result.status,
                "reason": result.reason or None,
                "held": result.records[-1].held if result.finished else None,
                "cost": asdict(result.cost),
            }
            self._write(trial, Line(message, "trial_ended", fields, _LEVELS[result.status]))

    def _write(self, trial: int, line: Line) -> None:
        label = self._trials[trial].label
        message = f"[{self._ended}/{self._expected.trials}] {label}: {line.message}"
        self._say(message, line.event, line.level, trial=label, trial_number=trial + 1, **line.fields)

    def _write_note(self, trial: int, line: Line) -> None:
        label = self._trials[trial].label
        self._note(f"{label}: {line.message}", line.event, trial=label, trial_number=trial + 1, **line.fields)


def _is_for_people(event: Event, stage: StageProgress) -> bool:
    match event:
        case StageStarted():
            return stage.restarted or event.resumed_step > 0
        case StageFinished():
            return not event.reused
    return isinstance(event, CheckpointFailed)
