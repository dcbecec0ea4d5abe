"""Live tracking of a chain: its events are written to MLflow in the background while it runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.tracking.background import BackgroundTracking
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.keeper import ManifestKeeper
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.trainers.reporter import Evaluated, Event, Progress
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.store.stage_store import StageStore

if TYPE_CHECKING:
    from nmt.orchestrator.tracking.chain_log import ChainRun
    from nmt.orchestrator.tracking.store import TrackingStore

CLOSING_SECONDS = 120.0
"""Longest wait, at the end of a run, for its last records to be logged."""

AWAY_SECONDS = 10.0
"""Longest such wait while the tracking store cannot be reached."""

EARLIER_SECONDS = 30.0
"""Longest wait, at the end of a run, for the records of earlier runs to be logged."""

MOST_ROWS = 50_000
"""Most rows queued for a tracking store that is away; further rows are taken from the stage's record at its end."""


@dataclass(frozen=True)
class _Opening:
    """The first item: the store is opened before there is anything to write."""


@dataclass(frozen=True)
class _Arrived:
    event: Event
    at: float


@dataclass(frozen=True)
class _Ending:
    manifest: ChainManifest


class LiveTracking(BackgroundTracking[_Opening | _Arrived | _Ending]):
    """Writes a chain's events to MLflow from a background thread; opening the store overlaps with the start of Ray.

    Everything is in the storage before it is logged: this class writes the chain's manifest, the workers write the
    records of the stages. A tracking store that is away, slow or restarted delays the log and nothing else: what it
    lacks when the run ends can be logged later from the storage.

    An interrupted chain resumes in its former MLflow run.

    Args:
        uri: Tracking URI.
        name: MLflow experiment.
        spec: What the chain computes.
        params: The flattened experiment.
        storage: Storage of stages and manifests.
    """

    def __init__(self, uri: str, name: str, spec: ChainSpec, params: Mapping[str, str], storage: str) -> None:
        self._name, self._storage = name, storage
        self._manifests = ManifestStore(storage)
        public = {key: without_credentials(value) for key, value in params.items()}
        manifest, self._lease = self._manifests.begin(name, without_credentials(uri), public, spec)
        self._keeper = ManifestKeeper(self._manifests, manifest)
        self._began = manifest
        self._store: TrackingStore | None = None
        self._run: ChainRun | None = None
        self._rows = 0
        self.waiting = 0
        """Earlier chains of this storage that the same tracking store still lacks; set when the tracking is closed."""
        super().__init__(uri, _Opening())

    @property
    def run_uuid(self) -> str:
        """UUID by which the run is found."""
        return self._began.run_uuid

    @property
    def manifest_failure(self) -> str | None:
        """Why the chain's manifest, which logging it later needs, could not be written; ``None`` if it was."""
        return str(self._keeper.failure) if self._keeper.failure is not None else None

    def write(self, event: Event) -> None:
        """Queue an event for writing; never blocks."""
        before = self._keeper.manifest
        if (manifest := before.with_event(event, time.time())) is not before:
            self._keeper.change(trained=manifest.trained)
        if isinstance(event, Progress | Evaluated) and self._is_full(event):
            return
        self._writer.submit(_Arrived(event, time.time()))

    def close(self, status: str) -> None:
        """End the run as ``FINISHED``, ``FAILED`` or ``KILLED``, and wait until its records are logged.

        Then the backlog of earlier runs in this storage is logged too, if the tracking store is there.
        """
        manifest = self._keeper.end(status)
        self._writer.submit(_Ending(manifest))
        self.complete = self._writer.close(CLOSING_SECONDS, AWAY_SECONDS)
        if self.complete:
            with contextlib.suppress(OSError):  # the next command then finds nothing missing
                self._manifests.write(replace(manifest, logged=True))
            self._log_earlier()
        if self._lease is not None:
            self._lease.release()

    def _is_full(self, event: Progress | Evaluated) -> bool:
        """Return whether too many rows are queued; rows dropped now are filled in when the stage finishes."""
        if not self._writer.waiting:
            self._rows = 0
        if isinstance(event, Progress):
            self._rows += len(event.rows)
        return self._rows > MOST_ROWS

    def _log_earlier(self) -> None:
        """Log the backlog of earlier runs, in a thread, since a tracking store may stop answering at any time."""
        from nmt.orchestrator.tracking.backlog import Backlog

        ours = without_credentials(self._uri)
        backlog = Backlog(self._storage, lambda address: self._uri if address == ours else None)

        def log() -> None:
            for chain in backlog.log():
                self.waiting += chain.status not in ("logged", "running")

        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the wait
            thread = threading.Thread(target=log, name="nmt-backlog", daemon=True)
            thread.start()
            thread.join(EARLIER_SECONDS)

    def _write(self, items: Sequence[_Opening | _Arrived | _Ending]) -> None:
        from nmt.orchestrator.tracking.chain_log import Timed  # MLflow takes seconds to import
        from nmt.orchestrator.tracking.replay import write_end, write_finished_stages
        from nmt.orchestrator.tracking.store import milliseconds

        run = self._open()
        run.write(Timed(item.event, milliseconds(item.at)) for item in items if isinstance(item, _Arrived))
        for item in items:
            if isinstance(item, _Ending):
                whole = write_finished_stages(run, item.manifest, StageStore(self._storage))
                write_end(run, item.manifest, whole)

    def _open(self) -> ChainRun:
        from nmt.orchestrator.tracking.chain_log import ChainRun
        from nmt.orchestrator.tracking.store import TrackingStore

        if self._store is None:
            self._store = TrackingStore(self._uri, self._name)
        if self._run is None:
            self._run = ChainRun.from_manifest(self._store, self._began)
            self.link = self._store.link(self._run.run_id)
        return self._run
