"""The backlog: runs in a storage that the tracking store lacks, in whole or in part, and how they are logged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from nmt.orchestrator.credentials import HIDDEN, without_credentials
from nmt.orchestrator.tracking.failures import format_error, is_transient
from nmt.orchestrator.tracking.manifests.chain_manifest import RUNNING, ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.manifests.store import GroupStore, Manifests, ManifestStore
from nmt.orchestrator.tracking.writer import FIRST_DELAY
from nmt.trainers.store.stage_store import StageStore

if TYPE_CHECKING:
    from nmt.orchestrator.tracking.store import TrackingStore

Kept = TypeVar("Kept", ChainManifest, GroupManifest)

ATTEMPTS = 4
"""Attempts on a tracking store that is away, the second after half a second, with the delay doubled each time."""


@dataclass(frozen=True)
class LoggedChain:
    """Outcome of logging one chain or group.

    Attributes:
        chain: Key of the chain's last stage; for a group, the UUID of its run.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        status: ``logged``; ``running`` while its driver runs it or another command logs it; ``away`` when the tracking
            store cannot be reached, ``failed`` when it refuses, ``unreadable`` when the manifest is damaged.
        ended: How the chain ended: ``FINISHED``, ``FAILED`` or ``KILLED``; ``None`` when not known yet.
        runs: Number of its runs in MLflow.
        points: Number of points logged by this call.
        run_id: The chain's run in MLflow.
        link: Address of the run's page, where the tracking store is a server.
        detail: Why it is not logged.
        kind: ``chain``, or the kind of the group.
    """

    chain: str
    experiment: str
    tracking: str
    status: Literal["logged", "running", "away", "failed", "unreadable"]
    ended: str | None = None
    runs: int = 0
    points: int = 0
    run_id: str | None = None
    link: str | None = None
    detail: str = ""
    kind: str = "chain"


class Backlog:
    """The chains and groups of a storage that are not logged completely.

    Args:
        storage: The storage.
        address: Maps the tracking URI of a manifest, which has no credentials, to the URI to open, or to ``None`` to
            skip the manifest. A store other than the manifest's lacks every record.

    Raises:
        ValueError: ``storage`` is neither an absolute path nor a URI.
    """

    def __init__(self, storage: str, address: Callable[[str], str | None]) -> None:
        self._manifests = ManifestStore(storage)
        self._groups = GroupStore(storage)
        self._stages = StageStore(storage)
        self._address = address
        self._stores: dict[tuple[str, str], TrackingStore] = {}
        self._away: dict[str, str] = {}

    def log(self) -> Iterator[LoggedChain]:
        """Log one run after the other, oldest first."""
        chains: list[ChainManifest] = []
        groups: list[GroupManifest] = []
        yield from self._collect(self._manifests, "chains", chains)
        yield from self._collect(self._groups, "groups", groups)
        alone = [manifest for manifest in chains if manifest.parent is None]  # a group logs its own
        pending: list[ChainManifest | GroupManifest] = [*alone, *groups]
        for manifest in sorted(pending, key=lambda manifest: manifest.started):
            if isinstance(manifest, GroupManifest):
                yield self._log(manifest, self._groups)
            else:
                yield self._log(manifest, self._manifests)

    def _collect(self, kept: Manifests[Kept], folder: str, pending: list[Kept]) -> Iterator[LoggedChain]:
        """Append the pending manifests to a list, and yield those that cannot be read."""
        try:
            names = kept.names()
        except OSError as error:
            yield LoggedChain("", "", "", "unreadable", detail=f"{folder}: {format_error(error)}")
            return
        for name in names:
            try:
                manifest = kept.read(name)
            except (ValueError, OSError) as error:
                detail = f"{folder}/{name}: {format_error(error)}"
                yield LoggedChain(name.partition(".")[0], "", "", "unreadable", detail=detail)
            else:
                if self._is_pending(manifest):
                    pending.append(manifest)

    def _is_pending(self, manifest: ChainManifest | GroupManifest) -> bool:
        """Return whether the store to log to lacks a record, as one does to which the run has never been logged."""
        uri = self._address(manifest.tracking)
        return uri is not None and not (manifest.logged and manifest.tracking == without_credentials(uri))

    def _log(self, manifest: Kept, kept: Manifests[Kept]) -> LoggedChain:
        uri = self._address(manifest.tracking)
        assert uri is not None  # it is pending, so it has an address
        shown = without_credentials(uri)
        name = manifest.key if isinstance(manifest, ChainManifest) else manifest.run_uuid
        kind = manifest.kind
        outcome = LoggedChain(name, manifest.experiment, shown, "running", detail=_blocker(manifest), kind=kind)
        if HIDDEN in uri:
            why = f"{uri} had credentials, which are not stored; name the experiment file that has them"
            return replace(outcome, status="failed", detail=why)
        lease = kept.lease(manifest)
        if lease is None:
            return outcome
        try:
            manifest = kept.reread(manifest)  # another process may have written it before the lease was taken
            if not self._is_pending(manifest):
                return replace(outcome, status="logged", ended=manifest.status, detail="")
            if uri in self._away:
                return replace(outcome, status="away", detail=self._away[uri])
            return self._log_with_retries(manifest, kept, uri, outcome)
        except (ValueError, OSError) as error:
            return replace(outcome, status="failed", detail=format_error(error))
        finally:
            lease.release()

    def _log_with_retries(self, manifest: Kept, kept: Manifests[Kept], uri: str, outcome: LoggedChain) -> LoggedChain:
        from nmt.orchestrator.tracking.store import TrackingStore  # MLflow takes seconds to import

        before = sum(store.logged for store in self._stores.values())
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if (uri, manifest.experiment) not in self._stores:
                    self._stores[uri, manifest.experiment] = TrackingStore(uri, manifest.experiment)
                store = self._stores[uri, manifest.experiment]
                run_id, status, runs = self._replay(manifest, store)
            except Exception as error:
                if not is_transient(error):
                    return replace(outcome, status="failed", detail=format_error(error))
                self._away[uri] = format_error(error)
                if attempt < ATTEMPTS:
                    time.sleep(FIRST_DELAY * 2 ** (attempt - 1))
            else:
                self._away.pop(uri, None)
                logged: Kept = replace(manifest, status=status, logged=True, tracking=outcome.tracking)
                kept.write(logged)
                points = sum(store.logged for store in self._stores.values()) - before
                return replace(
                    outcome,
                    status="logged",
                    ended=status,
                    runs=runs,
                    points=points,
                    run_id=run_id,
                    link=store.link(run_id),
                    detail="",
                )
        return replace(outcome, status="away", detail=self._away[uri])

    def _replay(self, manifest: ChainManifest | GroupManifest, store: TrackingStore) -> tuple[str, str, int]:
        """Log a run from the storage; return its id, the status that it ended with, and the number of its runs."""
        from nmt.orchestrator.tracking.group_log import replay_group
        from nmt.orchestrator.tracking.replay import replay

        if isinstance(manifest, ChainManifest):
            run, status = replay(manifest, store, self._stages)
            return run.run_id, status, run.runs
        found = [self._manifests.find(name) for name in manifest.chains]
        trials = [trial for trial in found if trial is not None]
        group, status, runs = replay_group(manifest, trials, store, self._stages, self._groups.attachments(manifest))
        return group.run_id, status, runs


def _blocker(manifest: ChainManifest | GroupManifest) -> str:
    if manifest.status == RUNNING:
        return f"process {manifest.pid} on {manifest.host} is running it"
    return "another command is logging it"
