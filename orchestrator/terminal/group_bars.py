"""How far a group of trials is, as live bars on a terminal."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Self

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.summary.wording import NOTHING, format_duration, format_values, level_name
from nmt.orchestrator.terminal.chain_bars import format_steps, stage_bar
from nmt.orchestrator.terminal.live import open_drawing
from nmt.orchestrator.terminal.stage_progress import ChainProgress, StageProgress
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.trial import Trial, TrialResult
from nmt.trainers.reporter import Event, StageFinished

MOST_SHOWN = 12
"""Trials under way that have a bar."""


class GroupBars:
    """Shows a bar for all trials and one per trial under way, redrawn within a ``with`` block.

    Args:
        name: What the group is called.
        expected: What it is expected to cost.
        console: The terminal.
    """

    def __init__(self, name: str, expected: Forecast, console: Console) -> None:
        self._name = name
        self._expected = expected
        self._console = console
        self._trials: dict[int, Trial] = {}
        self._running: dict[int, tuple[ChainProgress, StageProgress]] = {}
        self._ended = self._failed = self._trained = self._reused = 0
        self._started = console.get_time()
        self._lock = threading.Lock()
        self._drawing = open_drawing(self.table, console)

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawing.stop()

    def add(self, trials: Mapping[int, Trial]) -> None:
        """Add trials that are to run, by number."""
        with self._lock:
            self._trials.update(trials)

    def show(self, trial: int, event: Event) -> None:
        """Handle an event of a trial; the bars show it when they are redrawn."""
        with self._lock:
            chain = self._running[trial][0] if trial in self._running else ChainProgress(self._trials[trial].levels)
            self._running[trial] = chain, chain.update(event, self._console.get_time())
            if isinstance(event, StageFinished):
                self._reused += event.reused
                self._trained += not event.reused

    def end(self, trial: int, result: TrialResult) -> None:
        """Handle the end of a trial."""
        with self._lock:
            self._running.pop(trial, None)
            self._ended += 1
            self._failed += result.status in ("diverged", "failed")

    def table(self) -> Group:
        """Return the bars as they are now, as wide as there is room."""
        with self._lock:
            return Group(
                self._whole(), self._under_way(self._console.width, min(MOST_SHOWN, max(1, self._console.height - 4)))
            )

    def _whole(self) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, min_width=6)
        table.add_column(no_wrap=True)
        stages, elapsed, left = self._expected.stages, self._console.get_time() - self._started, NOTHING
        if self._trained and stages:
            left = f"≤ {format_duration(elapsed / self._trained * max(0, stages - self._trained))}"
        failed = f", {self._failed} failed" if self._failed else ""
        table.add_row(
            Text(self._name, "bold"),
            Text(f"{self._ended}/{self._expected.trials} trials"),
            ProgressBar(total=max(1, stages), completed=self._trained),
            Text(f"{self._trained}/{stages} stages, {self._reused} reused{failed}  {format_duration(elapsed)}  {left}"),
        )
        return table

    def _under_way(self, width: int, most: int) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        table.add_column(ratio=1, min_width=6)
        table.add_column(no_wrap=True, justify="right")
        for trial, (_, stage) in sorted(self._running.items())[:most]:
            loss = f"  loss {format_values(stage.train_loss)}" if math.isfinite(stage.train_loss) else ""
            awaited = stage.state == "awaited"
            table.add_row(
                Text(f"  {self._trials[trial].label}"),
                Text(f"{stage.number}/{stage.count} {level_name(stage.level)}"),
                stage_bar(stage),
                Text("waits for another trial" if awaited else f"{format_steps(stage)}{loss}"),
            )
        if len(self._running) > most:
            table.add_row(Text(f"  and {len(self._running) - most} more", "dim"), Text(), Text(), Text())
        return table
