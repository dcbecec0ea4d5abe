"""Live tracking of a group of trials: it is written to MLflow in the background while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nmt.orchestrator.tracking.background import BackgroundTracking
from nmt.orchestrator.tracking.chain_live import AWAY_SECONDS
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.manifests.store import GroupStore
from nmt.orchestrator.trials.group_ledger import Snapshot
from nmt.orchestrator.trials.trial import TrialResult
from nmt.trainers.reporter import Event, StageFinished, StageStarted
from nmt.trainers.store.stage_store import StageStore

if TYPE_CHECKING:
    from nmt.orchestrator.tracking.chain_log import ChainRun
    from nmt.orchestrator.tracking.group_log import GroupRun
    from nmt.orchestrator.tracking.store import TrackingStore

CLOSING_SECONDS = 600.0
"""Longest wait, at the end of a group, for its last records to be logged; a grid may have thousands."""


@dataclass(frozen=True)
class _Opening:
    """The first item: the store is opened before there is anything to write."""


@dataclass(frozen=True)
class _Arrived:
    trial: ChainManifest
    event: Event
    at: float


@dataclass(frozen=True)
class _TrialEnded:
    trial: ChainManifest
    snapshot: Snapshot | None


@dataclass(frozen=True)
class _Ending:
    group: GroupManifest
    results: tuple[TrialResult, ...]
    winner: TrialResult | None


class GroupTracking(BackgroundTracking[_Opening | _Arrived | _TrialEnded | _Ending]):
    """Writes the stages of a group's trials to MLflow as they finish, and the group's curves trial by trial.

    Everything is in the storage before it is logged: records that the tracking store lacks when the group ends can be
    logged later.

    Args:
        uri: Tracking URI.
        group: The group.
        storage: Storage of stages and manifests.
    """

    def __init__(self, uri: str, group: GroupManifest, storage: str) -> None:
        self._group = group
        self._stages = StageStore(storage)
        self._groups = GroupStore(storage)
        self._store: TrackingStore | None = None
        self._run: GroupRun | None = None
        self._chains: dict[str, ChainRun] = {}
        self.view: str | None = None
        """Address of the saved view; only its fragment where the tracking store is no server."""
        super().__init__(uri, _Opening())

    def write(self, trial: ChainManifest, event: Event) -> None:
        """Queue an event of a trial for writing; never blocks. Only starts and ends of stages are written."""
        if isinstance(event, StageStarted | StageFinished):
            self._writer.submit(_Arrived(trial, event, time.time()))

    def end_trial(self, trial: ChainManifest, snapshot: Snapshot | None) -> None:
        """Write the end of a trial, and the group's state after it; ``None`` if the trial may still resume."""
        self._writer.submit(_TrialEnded(trial, snapshot))

    def close(self, group: GroupManifest, results: Sequence[TrialResult], winner: TrialResult | None) -> None:
        """End the run with the manifest's status, and wait until its records are logged."""
        self._writer.submit(_Ending(group, tuple(results), winner))
        self.complete = self._writer.close(CLOSING_SECONDS, AWAY_SECONDS)
        if self.complete:
            with contextlib.suppress(OSError):  # the next command then finds nothing missing
                self._groups.write(replace(group, logged=True))

    def _write(self, items: Sequence[_Opening | _Arrived | _TrialEnded | _Ending]) -> None:
        from nmt.orchestrator.tracking.chain_log import Timed  # MLflow takes seconds to import
        from nmt.orchestrator.tracking.replay import write_end, write_finished_stages
        from nmt.orchestrator.tracking.store import milliseconds

        run = self._open()
        for item in items:
            match item:
                case _Arrived():
                    self._chain(item.trial).write([Timed(item.event, milliseconds(item.at))])
                case _TrialEnded():
                    chain = self._chain(item.trial)
                    write_end(chain, item.trial, write_finished_stages(chain, item.trial, self._stages))
                    if item.snapshot is not None:
                        run.write(item.snapshot, milliseconds(item.trial.seen))
                    self._chains.pop(item.trial.run_uuid)
                case _Ending():
                    for chain in self._chains.values():  # trials that were interrupted
                        chain.abort(item.group.status, milliseconds(item.group.seen))
                    files = self._groups.attachments(item.group)
                    run.finish(item.group, item.results, item.winner, files)

    def _chain(self, trial: ChainManifest) -> ChainRun:
        from nmt.orchestrator.tracking.chain_log import ChainRun

        assert self._store is not None
        assert self._run is not None
        if trial.run_uuid not in self._chains:
            self._chains[trial.run_uuid] = ChainRun.from_manifest(self._store, trial, self._run.run_id)
        return self._chains[trial.run_uuid]

    def _open(self) -> GroupRun:
        from nmt.orchestrator.tracking.group_log import GroupRun
        from nmt.orchestrator.tracking.saved_view import link
        from nmt.orchestrator.tracking.store import TrackingStore

        if self._store is None:
            self._store = TrackingStore(self._uri, self._group.experiment)
        if self._run is None:
            self._run = GroupRun(self._store, self._group)
            self.link = self._store.link(self._run.run_id)
            self.view = link(self._store)
        return self._run
