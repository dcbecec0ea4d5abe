"""What any tracking has that is opened, written and closed in the background."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from orchestrator.credentials import without_credentials
from orchestrator.tracking.failures import passes, told
from orchestrator.tracking.writer import Writer

Item = TypeVar("Item")


class Run(Protocol):
    """The run that is written."""

    run_id: str


class BackgroundTracking(ABC, Generic[Item]):
    """Hands items to :meth:`_write` in a thread; they are written when the tracking store takes them.

    Args:
        uri: Tracking URI.
        opening: The first item: the store is opened before there is anything to write.
    """

    _run: Run | None

    def __init__(self, uri: str, opening: Item) -> None:
        self._uri = uri
        self.link: str | None = None
        """Address of the run's page, once it is open and when the tracking store is a server."""
        self.complete = False
        """Whether the tracking store has it all; known when it is closed."""
        self._writer: Writer[Item] = Writer(self._write, passes)
        self._writer.submit(opening)

    @property
    def run_id(self) -> str | None:
        """The run, once it is open."""
        return self._run.run_id if self._run else None

    @property
    def failure(self) -> str | None:
        """What stands or stood last in the way of tracking, or ``None``."""
        error = self._writer.failure
        return f"{without_credentials(self._uri)}: {told(error)}" if error is not None else None

    @property
    def is_away(self) -> bool:
        """Whether the tracking store cannot be reached at present, as far as known."""
        return self._writer.is_trying

    @abstractmethod
    def _write(self, items: Sequence[Item]) -> None:
        """Write items; called again with some of them when it failed."""
