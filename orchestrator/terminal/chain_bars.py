"""How far a chain is, as live bars on a terminal."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.summary.limits import against_limit
from nmt.orchestrator.summary.wording import format_duration, format_multiplier, format_values, level_name
from nmt.orchestrator.terminal.live import open_drawing
from nmt.orchestrator.terminal.stage_progress import ChainProgress, StageProgress
from nmt.orchestrator.terminal.stage_sentence import (
    FEW_MULTIPLIERS,
    format_time_left,
    shown_multipliers,
    stage_sentence,
)
from nmt.trainers.records import Verdict
from nmt.trainers.reporter import CheckpointFailed, Event

WIDE = 100
"""Columns from which on there is room for everything."""

_COLOURS = {"done": "green", "reused": "green", "running": "bold", "stopped": "red", "awaited": "dim", "waiting": "dim"}


class ChainBars:
    """Shows a bar per stage, redrawn within a ``with`` block.

    Beside the bar: the loss of the stage's objective (of the latest minibatches and the latest validation, or both at
    θ* once it is finished), the protected task closest to its limit or furthest beyond it, λ, the time that the stage
    took and the most that it may still take. Below :data:`WIDE` columns there is one loss: on train while the stage
    runs, on valid once it is finished.

    Args:
        levels: Names of the tasks that each stage solves; none for the joint start.
        console: The terminal.
    """

    def __init__(self, levels: Sequence[Sequence[str]], console: Console) -> None:
        self._console = console
        self._progress = ChainProgress(levels)
        self._protected = sum(len(level) for level in levels[:-1])
        self._lock = threading.Lock()
        self._drawing = open_drawing(self.table, console)

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._progress.stop(self._console.get_time())
        self._drawing.stop()

    def show(self, event: Event) -> None:
        """Handle an event; the bars show it when they are redrawn."""
        now = self._console.get_time()
        with self._lock:
            stage = self._progress.update(event, now)
        if isinstance(event, CheckpointFailed):
            self._console.print(Text(stage_sentence(event, stage, now)), soft_wrap=True)

    def table(self) -> Table:
        """Return the bars as they are now, as wide as there is room."""
        with self._lock:
            return self._table(wide=self._console.width >= WIDE, most=max(3, self._console.height - 4))

    def _table(self, *, wide: bool, most: int) -> Table:
        table = Table(box=None, padding=(0, 1), pad_edge=False, collapse_padding=True, expand=True, header_style="dim")
        table.add_column("stage", no_wrap=True)
        table.add_column("", no_wrap=True, overflow="ellipsis", max_width=20 if wide else 12)
        table.add_column("", ratio=1, min_width=6)
        table.add_column("step", justify="right", no_wrap=True)
        table.add_column("loss", justify="right", no_wrap=True)
        if wide:
            table.add_column("valid", justify="right", no_wrap=True)
        table.add_column("closest to its limit" if wide else "closest to limit", no_wrap=True)
        table.add_column("λ" if self._protected <= FEW_MULTIPLIERS else "max λ", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("left", no_wrap=True)
        for stage in self._visible(most):
            table.add_row(*self._cells(stage, wide))
        return table

    def _visible(self, most: int) -> Sequence[StageProgress]:
        """Return the stages around the one under way, where there is no room for all."""
        stages = self._progress.stages
        if len(stages) <= most:
            return stages
        current = next((stage.index for stage in stages if stage.state not in ("done", "reused")), len(stages))
        first = max(0, min(current - most // 2, len(stages) - most))
        return stages[first : first + most]

    def _cells(self, stage: StageProgress, wide: bool) -> list[Text | ProgressBar]:
        now = self._console.get_time()
        begun = stage.state not in ("waiting", "awaited")
        losses = [Text(format_values(loss) if begun else "") for loss in (stage.train_loss, stage.valid_loss)]
        return [
            Text(f"{stage.number}/{stage.count}", _COLOURS[stage.state]),
            Text(level_name(stage.level)),
            stage_bar(stage),
            Text(format_steps(stage) if begun else ""),
            *(losses if wide else [losses[0 if stage.state == "running" else 1]]),
            _closest(stage.worst),
            Text("  ".join(map(format_multiplier, shown_multipliers(stage.multipliers).values()))),
            Text(format_duration(stage.elapsed(now)) if begun else ""),
            _outlook(stage, now),
        ]


def stage_bar(stage: StageProgress) -> ProgressBar:
    """Return a stage's bar; full once it is finished, though it may have ended before its last step."""
    if stage.record is not None:
        return ProgressBar(total=1, completed=1)
    return ProgressBar(total=max(1, stage.max_steps), completed=stage.step)


def format_steps(stage: StageProgress) -> str:
    """Write the steps that a stage has taken, and the most that it may take while it is not finished."""
    return f"{stage.step}" if stage.record is not None else f"{stage.step}/{stage.max_steps}"


def _closest(verdict: Verdict | None) -> Text:
    """``pay +0.0003/0.0011 ✓``."""
    if verdict is None:
        return Text("")
    comparison = re.sub(" [≤>≥<] ", "/", against_limit(verdict))
    name = verdict.task if len(verdict.task) <= 12 else f"{verdict.task[:11]}…"
    return Text(f"{name} {comparison} {'✓' if verdict.kept else '✗'}", "" if verdict.kept else "yellow")


def _outlook(stage: StageProgress, now: float) -> Text:
    if stage.state == "running":
        return Text(format_time_left(stage, now))
    if stage.state == "done" and stage.record is not None and not stage.record.gained:
        return Text("no gain", "yellow")
    return Text(stage.state, "dim")
