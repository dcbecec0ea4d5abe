"""How far a chain is, while it runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.summary.limits import against_limit, worst_verdict
from orchestrator.summary.wording import (
    NOTHING,
    format_duration,
    format_multiplier,
    format_values,
    join_names,
    level_name,
    nan_if_none,
)
from trainers.records import Row, StageRecord, Verdict
from trainers.reporter import (
    CheckpointFailed,
    Evaluated,
    Event,
    Progress,
    StageAwaited,
    StageFinished,
    StageStarted,
)

LINE_SECONDS = 5.0
"""Shortest time between two plain lines about the same stage."""

WIDE = 100
"""Columns from which on there is room for everything."""

_FEW = 2
_State = Literal["waiting", "running", "done", "reused", "stopped"]


@dataclass
class _Stage:
    """What is known of a stage so far; speed is measured from ``anchor``, the time and the step of its first event."""

    index: int
    level: tuple[str, ...]
    state: _State = "waiting"
    started: float = 0.0
    anchor: tuple[float, int] | None = None
    seconds: float = 0.0
    step: int = 0
    max_steps: int = 0
    train_loss: float = math.nan
    valid_loss: float = math.nan
    worst: Verdict | None = None
    multipliers: Mapping[str, float] | None = None
    record: StageRecord | None = None
    spoken: float = -math.inf


class ProgressDisplay:
    """Shows a chain's events; also a context manager, within which the bars are alive.

    On a terminal each stage has a bar, with the loss of its objective (minibatches of the last half second, and the
    latest validation; of a finished stage both at θ*), the protected task that is closest to its limit or furthest
    beyond it, λ, the time it took and at most will take: a stage may end before its last step. Below :data:`WIDE`
    columns there is one loss: on train while the stage runs, on valid when it is finished.

    Elsewhere a line is printed per evaluation, at most one every :data:`LINE_SECONDS`, and one per finished stage.
    Everything goes to ``console``.

    Args:
        levels: Names of the tasks, by priority.
        console: Where to; standard error, so that standard output stays for results.
        steps_per_second: Expected speed, for the time left of a stage that has not taken a step yet.
    """

    def __init__(
        self, levels: Sequence[Sequence[str]], console: Console, steps_per_second: float | None = None
    ) -> None:
        self._console = console
        self._stages = [_Stage(index, tuple(level)) for index, level in enumerate(levels)]
        self._steps_per_second = steps_per_second
        self._protected = sum(len(level) for level in levels[:-1])
        self._lock = threading.RLock()
        self._live: Live | None = None

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_interactive:
            # What is printed to a file must not be drawn into the bars.
            self._live = Live(self, console=self._console, redirect_stdout=sys.stdout.isatty())
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            for stage in self._stages:
                if stage.state == "running":
                    stage.state = "stopped"
                    stage.seconds = self._console.get_time() - stage.started
                    if self._live is None:
                        self._say(stage, f"stopped after step {stage.step}, {format_duration(stage.seconds)}")
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, event: Event) -> None:
        """Take in an event, and show what it changes."""
        with self._lock:
            match event:
                case StageAwaited():
                    self._line(self._stages[event.stage], f"waits for {event.key}, which another process trains")
                case StageStarted():
                    self._start(event)
                case Progress():
                    self._progress(event)
                case Evaluated():
                    self._evaluated(event)
                case CheckpointFailed():
                    stage = self._reached(event.stage, event.step)
                    self._say(stage, f"checkpoint at step {event.step} failed, training goes on: {event.reason}")
                case StageFinished():
                    self._finished(event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bars, as wide as there is room."""
        with self._lock:
            table = self._table(options.max_width, console.height)
        yield table

    def _reached(self, index: int, step: int) -> _Stage:
        """The stage at its present step; a display that is opened late learns of it here."""
        now = self._console.get_time()
        stage = self._stages[index]
        if stage.state != "running":
            stage.state, stage.started = "running", now
        if stage.anchor is None:
            stage.anchor = (now, step)
        stage.step = max(stage.step, step)  # candidates from before an interruption are told again
        return stage

    def _start(self, event: StageStarted) -> None:
        # Again after a retry.
        stage = _Stage(event.stage, event.level, "running", self._console.get_time(), max_steps=event.max_steps)
        self._stages[event.stage] = stage
        protects = f", protects {join_names(event.protected)}" if event.protected else ""
        begun = f"goes on from step {event.resumed_step}" if event.resumed_step else "started"
        self._line(stage, f"{begun}, at most {event.max_steps} steps{protects}")

    def _progress(self, event: Progress) -> None:
        stage = self._reached(event.stage, event.step)
        if event.rows:
            stage.train_loss = _mean_objective(event.rows, stage.level)
            stage.multipliers = event.rows[-1].multipliers

    def _evaluated(self, event: Evaluated) -> None:
        candidate = event.candidate
        stage = self._reached(event.stage, candidate.step)
        stage.valid_loss = _objective(candidate.losses, stage.level)
        stage.worst = worst_verdict(candidate.verdicts)
        if self._console.get_time() - stage.spoken < LINE_SECONDS:
            return
        parts = [
            f"step {stage.step}/{stage.max_steps}",
            f"loss {format_values(stage.train_loss)} train, {format_values(stage.valid_loss)} valid",
        ]
        if stage.worst is not None:
            parts.append(f"{stage.worst.task} {against_limit(stage.worst)}")
        if stage.multipliers:
            parts.append(f"λ {_multipliers(stage.multipliers, with_names=True)}")
        parts.append(f"{format_duration(self._console.get_time() - stage.started)}, {self._left(stage)} left")
        self._line(stage, "; ".join(parts))

    def _finished(self, event: StageFinished) -> None:
        record = event.record
        stage = self._stages[record.stage]
        stage.record = record
        stage.level = record.level
        if stage.state != "done":  # after a retry, a stage that this run trained is found again
            stage.state = "reused" if event.reused else "done"
        stage.seconds = nan_if_none(record.wall_seconds)
        stage.step = record.steps
        stage.valid_loss = _objective(record.losses.get("valid", {}), record.level)
        stage.train_loss = math.fsum(nan_if_none(optimum.train) for optimum in record.optima)
        stage.worst = worst_verdict(record.verdicts)
        stage.multipliers = record.multipliers
        parts = [f"reused {record.key}" if event.reused else f"done after step {record.steps} ({record.ended_by})"]
        parts.append(f"accepted step {record.accepted_step}" if record.gained else "gained nothing, start kept")
        parts.append(f"loss {format_values(stage.valid_loss)} valid")
        if stage.worst is not None:
            parts.append(f"{stage.worst.task} {against_limit(stage.worst)}")
        if record.multipliers:
            parts.append(f"λ {_multipliers(record.multipliers, with_names=True)}")
        parts.append(format_duration(stage.seconds))
        self._line(stage, "; ".join(parts))

    def _line(self, stage: _Stage, text: str) -> None:
        if self._live is None:
            stage.spoken = self._console.get_time()
            self._say(stage, text)

    def _say(self, stage: _Stage, text: str) -> None:
        line = f"stage {stage.index + 1}/{len(self._stages)} {level_name(stage.level)}: {text}"
        self._console.print(Text(line), soft_wrap=True)

    def _left(self, stage: _Stage) -> str:
        """Time until the last step that the stage may take; it may well end sooner."""
        since, first = stage.anchor or (0.0, stage.step)
        elapsed, taken = self._console.get_time() - since, stage.step - first
        speed = taken / elapsed if taken > 0 and elapsed > 0 else self._steps_per_second
        if not speed or not stage.max_steps:
            return NOTHING
        return f"≤ {format_duration((stage.max_steps - stage.step) / speed)}"

    def _table(self, width: int, height: int) -> Table:
        wide = width >= WIDE
        table = Table(box=None, padding=(0, 1), pad_edge=False, collapse_padding=True, expand=True, header_style="dim")
        table.add_column("stage", no_wrap=True)
        table.add_column("", no_wrap=True, overflow="ellipsis", max_width=20 if wide else 12)
        table.add_column("", ratio=1, min_width=6)
        table.add_column("step", justify="right", no_wrap=True)
        table.add_column("loss", justify="right", no_wrap=True)
        if wide:
            table.add_column("valid", justify="right", no_wrap=True)
        table.add_column("closest to its limit" if wide else "closest to limit", no_wrap=True)
        table.add_column("λ" if self._protected <= _FEW else "max λ", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("left", no_wrap=True)
        for stage in self._shown(max(3, height - 4)):
            cells: list[Text | ProgressBar] = [
                self._number(stage),
                Text(level_name(stage.level)),
                self._bar(stage),
                Text(_steps(stage)),
                Text("" if stage.state == "waiting" else _number(stage.train_loss)),
                Text("" if stage.state == "waiting" else _number(stage.valid_loss)),
                _closest(stage.worst),
                Text(_multipliers(stage.multipliers or {}, with_names=False)),
                Text(self._elapsed(stage)),
                self._outlook(stage),
            ]
            if not wide:
                del cells[5 if stage.state == "running" else 4]
            table.add_row(*cells)
        return table

    def _shown(self, most: int) -> Sequence[_Stage]:
        """The stages around the one under way, when there is no room for all."""
        if len(self._stages) <= most:
            return self._stages
        current = next(
            (s.index for s in self._stages if s.state in ("running", "waiting", "stopped")), len(self._stages)
        )
        first = max(0, min(current - most // 2, len(self._stages) - most))
        return self._stages[first : first + most]

    def _number(self, stage: _Stage) -> Text:
        style = {"done": "green", "reused": "green", "running": "bold", "stopped": "red", "waiting": "dim"}[stage.state]
        return Text(f"{stage.index + 1}/{len(self._stages)}", style)

    def _bar(self, stage: _Stage) -> ProgressBar:
        if stage.state in ("done", "reused"):
            return ProgressBar(total=1, completed=1)
        return ProgressBar(total=max(1, stage.max_steps), completed=stage.step)

    def _elapsed(self, stage: _Stage) -> str:
        if stage.state == "waiting":
            return ""
        return format_duration(self._console.get_time() - stage.started if stage.state == "running" else stage.seconds)

    def _outlook(self, stage: _Stage) -> Text:
        if stage.state == "running":
            return Text(self._left(stage))
        if stage.state == "done" and stage.record is not None and not stage.record.gained:
            return Text("no gain", "yellow")
        return Text(stage.state, "dim")


def _objective(losses: Mapping[str, float], level: Sequence[str]) -> float:
    return math.fsum(nan_if_none(losses.get(task)) for task in level)


def _mean_objective(rows: Sequence[Row], level: Sequence[str]) -> float:
    return math.fsum(_objective(row.losses, level) for row in rows) / len(rows)


def _steps(stage: _Stage) -> str:
    if stage.state == "waiting":
        return ""
    return f"{stage.step}/{stage.max_steps}" if stage.state in ("running", "stopped") else f"{stage.step}"


def _number(value: float) -> str:
    return format_values(value) if math.isfinite(value) else NOTHING


def _closest(verdict: Verdict | None) -> Text:
    """``pay +0.0003/0.0011 ✓``."""
    if verdict is None:
        return Text("")
    comparison = against_limit(verdict).replace(" ≤ ", "/").replace(" > ", "/")
    name = verdict.task if len(verdict.task) <= 12 else f"{verdict.task[:11]}…"
    return Text(f"{name} {comparison} {'✓' if verdict.held else '✗'}", "" if verdict.held else "yellow")


def _multipliers(values: Mapping[str, float], *, with_names: bool) -> str:
    """All of a few, by priority; the largest of many."""
    if len(values) <= _FEW:
        return "  ".join(
            f"{task} {format_multiplier(value)}" if with_names else format_multiplier(value)
            for task, value in values.items()
        )
    task = max(values, key=lambda task: _or_least(values[task]))
    return f"{task} {format_multiplier(values[task])}" if with_names else format_multiplier(values[task])


def _or_least(value: float | None) -> float:
    known = nan_if_none(value)
    return known if math.isfinite(known) else -math.inf
