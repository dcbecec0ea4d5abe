"""Base of the trackings of chains and groups: a run opened, written and closed in a background thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.tracking.failures import format_error, is_transient
from nmt.orchestrator.tracking.writer import Writer

Item = TypeVar("Item")


class Run(Protocol):
    """The run to write."""

    run_id: str


class BackgroundTracking(ABC, Generic[Item]):
    """Hands items to :meth:`_write` in a background thread, which retries while the tracking store is away.

    Args:
        uri: Tracking URI.
        opening: The first item; with it, the store is opened before there is anything to write.
    """

    _run: Run | None

    def __init__(self, uri: str, opening: Item) -> None:
        self._uri = uri
        self.link: str | None = None
        """Address of the run's page; ``None`` until the run is open, and where the tracking store is no server."""
        self.complete = False
        """Whether the tracking store has every record; set when the tracking is closed."""
        self._writer: Writer[Item] = Writer(self._write, is_transient)
        self._writer.submit(opening)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; ``None`` until it is open."""
        return self._run.run_id if self._run else None

    @property
    def failure(self) -> str | None:
        """The last failure of the tracking store, or ``None``."""
        error = self._writer.failure
        return f"{without_credentials(self._uri)}: {format_error(error)}" if error is not None else None

    @property
    def is_away(self) -> bool:
        """Whether the last request failed and is being retried."""
        return self._writer.is_retrying

    @abstractmethod
    def _write(self, items: Sequence[Item]) -> None:
        """Write items; after a failure it is called again, with items it may have written already."""
