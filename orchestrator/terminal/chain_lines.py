"""How far a chain is, line by line: plain text where there is no terminal, and the JSON log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from nmt.orchestrator.terminal.stage_line import Line, event_line, stop_line
from nmt.orchestrator.terminal.stage_progress import ChainProgress
from nmt.trainers.reporter import Event


class ChainLines:
    """Writes the lines of a chain's events, within a ``with`` block.

    Args:
        levels: Names of the tasks that each stage solves; none for the joint start.
        say: Reports a line: :meth:`~nmt.orchestrator.terminal.output.Output.say`.
        clock: Seconds.
    """

    def __init__(self, levels: Sequence[Sequence[str]], say: Callable[..., None], clock: Callable[[], float]) -> None:
        self._progress = ChainProgress(levels)
        self._say = say
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        now = self._clock()
        for stage in self._progress.stop(now):
            self._write(stop_line(stage, now))

    def show(self, event: Event) -> None:
        """Handle an event, and write its line if it is due."""
        now = self._clock()
        line = event_line(event, self._progress.update(event, now), now)
        if line is not None:
            self._write(line)

    def _write(self, line: Line) -> None:
        self._say(line.message, line.event, line.level, **line.fields)
