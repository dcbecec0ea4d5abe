"""Progress of a preparation in blocks: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 5.0
"""Shortest time between two plain lines."""

R = TypeVar("R")


class BlockProgress:
    """Counts finished blocks; a context manager, within which the bars are live.

    Args:
        console: Console for the progress; standard error, since standard output is for results.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("blocks"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._live = console.is_interactive

    def __enter__(self) -> BlockProgress:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def follow(self, step: str, results: Iterator[R], total: int) -> Iterator[R]:
        """Yield the results and count them."""
        task = self._bars.add_task(step, total=total)
        printed = self._console.get_time()
        for done, result in enumerate(results, start=1):
            self._bars.advance(task)
            now = self._console.get_time()
            if not self._live and (done == total or now - printed >= LINE_SECONDS):
                printed = now
                self._console.print(f"{step}: {done} of {total} blocks", highlight=False)
            yield result
