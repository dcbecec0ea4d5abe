"""How far a group of trials is, while it runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.summary.wording import NOTHING, format_duration, format_values, level_name, nan_if_none
from orchestrator.trials.forecast import Forecast
from orchestrator.trials.trial import Trial, TrialResult
from trainers.reporter import CheckpointFailed, Event, Progress, StageAwaited, StageFinished, StageStarted

MOST_SHOWN = 12
"""Trials under way that are shown."""


@dataclass
class _Running:
    """A trial under way."""

    trial: Trial
    started: float
    stage: int = 0
    level: tuple[str, ...] = ()
    step: int = 0
    max_steps: int = 0
    loss: float = math.nan
    awaits: bool = False


@dataclass
class _Counts:
    trials: int = 0
    trained: int = 0
    reused: int = 0
    failed: int = 0
    running: dict[int, _Running] = field(default_factory=dict)


class GroupDisplay:
    """Shows a group's events; also a context manager, within which the bars are alive.

    On a terminal: one bar for all trials, with the stages that were trained and reused and the time that is left, and
    one for each trial under way. Elsewhere a line is printed per stage that was trained and per trial that ended.

    Args:
        name: What the group is called.
        console: Where to; standard error, so that standard output stays for results.
        expected: What it is expected to cost.
    """

    def __init__(self, name: str, console: Console, expected: Forecast) -> None:
        self._name = name
        self._console = console
        self._expected = expected
        self._trials: dict[int, Trial] = {}
        self._counts = _Counts()
        self._started = console.get_time()
        self._lock = threading.RLock()
        self._live: Live | None = None

    def __enter__(self) -> GroupDisplay:
        self._started = self._console.get_time()
        if self._console.is_interactive:
            self._live = Live(self, console=self._console, redirect_stdout=sys.stdout.isatty())
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def add(self, trials: Mapping[int, Trial]) -> None:
        """Trials that are to run, by number."""
        with self._lock:
            self._trials.update(trials)

    def show(self, trial: int, event: Event) -> None:
        """Take in an event of a trial, and show what it changes."""
        with self._lock:
            now = self._console.get_time()
            running = self._counts.running.setdefault(trial, _Running(self._trials[trial], now))
            match event:
                case StageAwaited():
                    running.stage, running.level, running.awaits = event.stage, event.level, True
                case StageStarted():
                    again = bool(running.max_steps) and running.stage == event.stage  # its process was lost
                    running.stage, running.level, running.awaits = event.stage, event.level, False
                    running.step, running.max_steps = event.resumed_step, event.max_steps
                    if again or event.resumed_step:
                        how = f"goes on from step {event.resumed_step}" if event.resumed_step else "starts again"
                        self._line(trial, f"stage {event.stage + 1} {level_name(event.level)} {how}")
                case Progress():
                    running.step = event.step
                    if event.rows:
                        running.loss = math.fsum(nan_if_none(event.rows[-1].losses.get(task)) for task in running.level)
                case CheckpointFailed():
                    self._line(trial, f"checkpoint at step {event.step} failed, training goes on: {event.reason}")
                case StageFinished():
                    self._finished(trial, event)

    def end(self, trial: int, result: TrialResult) -> None:
        """A trial has ended."""
        with self._lock:
            self._counts.running.pop(trial, None)
            self._counts.trials += 1
            self._counts.failed += result.status in ("diverged", "failed")
            text = result.status + (f": {result.reason}" if result.reason else "")
            if result.finished:
                text = f"finished, {result.cost.stages} stages trained, {result.cost.stages_reused} reused"
            self._line(trial, text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bars, as wide as there is room."""
        with self._lock:
            yield Group(self._whole(), self._under_way(options.max_width, max(1, console.height - 4)))

    def _finished(self, trial: int, event: StageFinished) -> None:
        record = event.record
        if event.reused:
            self._counts.reused += 1
            return
        self._counts.trained += 1
        loss = math.fsum(nan_if_none(record.losses["valid"].get(task)) for task in record.level)
        held = "" if not record.protected else ", limits held" if record.held else ", limits broken"
        text = f"stage {record.stage + 1} {level_name(record.level)} done after step {record.steps}"
        self._line(trial, f"{text}; loss {format_values(loss)} valid{held}; {format_duration(record.wall_seconds)}")

    def _line(self, trial: int, text: str) -> None:
        if self._live is None:
            start = f"[{self._counts.trials}/{self._expected.trials}] {self._trials[trial].label}: "
            self._console.print(Text(start + text), soft_wrap=True)

    def _whole(self) -> Table:
        counts, expected = self._counts, self._expected
        table = Table.grid(padding=(0, 1), expand=True)
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, min_width=6)
        table.add_column(no_wrap=True)
        elapsed = self._console.get_time() - self._started
        left = NOTHING
        if counts.trained and expected.stages:
            left = f"≤ {format_duration(elapsed / counts.trained * max(0, expected.stages - counts.trained))}"
        stages = f"{counts.trained}/{expected.stages} stages, {counts.reused} reused"
        failed = f", {counts.failed} failed" if counts.failed else ""
        table.add_row(
            Text(self._name, "bold"),
            Text(f"{counts.trials}/{expected.trials} trials"),
            ProgressBar(total=max(1, expected.stages), completed=counts.trained),
            Text(f"{stages}{failed}  {format_duration(elapsed)}  {left}"),
        )
        return table

    def _under_way(self, width: int, height: int) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
        table.add_column(ratio=1, min_width=6)
        table.add_column(no_wrap=True, justify="right")
        shown = sorted(self._counts.running.items())[: min(MOST_SHOWN, height)]
        for _, running in shown:
            stages = len(running.trial.keys)
            step = "waits for another trial" if running.awaits else f"{running.step}/{running.max_steps}"
            loss = f"  loss {format_values(running.loss)}" if math.isfinite(running.loss) else ""
            table.add_row(
                Text(f"  {running.trial.label}"),
                Text(f"{running.stage + 1}/{stages} {level_name(running.level)}" if running.level else ""),
                ProgressBar(total=max(1, running.max_steps), completed=running.step),
                Text(f"{step}{loss}"),
            )
        if len(self._counts.running) > len(shown):
            table.add_row(Text(f"  and {len(self._counts.running) - len(shown)} more", "dim"), Text(), Text(), Text())
        return table
