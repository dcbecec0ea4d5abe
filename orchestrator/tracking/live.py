"""Tracking while a run goes on: opened, written and closed in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.tracking.writer import Writer
from trainers.chain_spec import ChainSpec
from trainers.reporter import Event

if TYPE_CHECKING:
    from orchestrator.tracking.chain import ChainRun


class LiveTracking:
    """Writes a chain's events to MLflow from a background thread; opening the store overlaps with the start of Ray.

    Args:
        uri: Tracking URI.
        name: MLflow experiment.
        spec: What the chain computes.
        params: The flattened experiment.
    """

    def __init__(self, uri: str, name: str, spec: ChainSpec, params: Mapping[str, str]) -> None:
        self._writer = Writer()
        self._run: ChainRun | None = None
        self.link: str | None = None

        def open_run() -> None:
            from orchestrator.tracking.chain import ChainRun  # MLflow takes seconds to import
            from orchestrator.tracking.store import TrackingStore

            store = TrackingStore(uri, name)
            self._run = ChainRun(store, spec, params, f"chain {spec.stage_keys()[-1][:8]}")
            self.link = store.link(self._run.run_id)

        self._writer.submit(open_run)

    @property
    def run_id(self) -> str | None:
        """The chain's run, once it is open."""
        return self._run.run_id if self._run else None

    @property
    def failure(self) -> str | None:
        """Why tracking failed, or ``None``."""
        error = self._writer.failure
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}" if error else None

    def write(self, event: Event) -> None:
        """Write an event, later."""
        self._submit(lambda run: run.write(event))

    def close(self, status: str, timeout: float) -> None:
        """Finish (``FINISHED``) or abort (``FAILED``, ``KILLED``) the run, and wait for what is still to be written."""
        self._submit(lambda run: run.finish() if status == "FINISHED" else run.abort(status))
        self._writer.close(timeout)

    def _submit(self, task: Callable[[ChainRun], None]) -> None:
        def with_run() -> None:
            assert self._run is not None  # opened by the first task, without which none after it runs
            task(self._run)

        self._writer.submit(with_run)
