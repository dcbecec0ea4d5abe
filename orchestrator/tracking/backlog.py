"""Chains in a storage whose log is not complete, and how it gets so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from orchestrator.credentials import HIDDEN, without_credentials
from orchestrator.tracking.failures import passes, told
from orchestrator.tracking.manifests.chain_manifest import RUNNING, ChainManifest
from orchestrator.tracking.manifests.group_manifest import GroupManifest
from orchestrator.tracking.manifests.store import GroupStore, Manifests, ManifestStore
from orchestrator.tracking.writer import FIRST_DELAY
from trainers.store.stage_store import StageStore

if TYPE_CHECKING:
    from orchestrator.tracking.store import TrackingStore

Kept = TypeVar("Kept", ChainManifest, GroupManifest)

TRIES = 4
"""Times that a tracking store which is away is tried, half a second after the first time, then a second and so on."""


@dataclass(frozen=True)
class LoggedChain:
    """What came of logging one chain.

    Attributes:
        chain: Key of its last stage; of a group the uuid of its run.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        status: ``logged``; ``running`` when its driver, or another command that logs it, is at it; ``away`` when the
            tracking store cannot be reached, ``failed`` when it refuses, ``unreadable`` when the manifest is damaged.
        ended: How the chain ended: ``FINISHED``, ``FAILED`` or ``KILLED``; ``None`` when nobody knows yet.
        runs: Runs that it has in MLflow now.
        points: Points that were logged just now.
        run_id: The chain's run in MLflow.
        link: Address of its page, when the tracking store is a server.
        detail: What stands in the way.
        kind: ``chain``, or what kind of group it is.
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
    """The chains of a storage that are not logged to their end.

    Args:
        storage: The storage.
        address: Turns the tracking URI of a manifest, which has no credentials, into the one to open; ``None`` when
            the manifest is none of the caller's. Another store than the manifest's lacks everything.

    Raises:
        ValueError: ``storage`` is no absolute path and no URI.
    """

    def __init__(self, storage: str, address: Callable[[str], str | None]) -> None:
        self._manifests = ManifestStore(storage)
        self._groups = GroupStore(storage)
        self._stages = StageStore(storage)
        self._address = address
        self._stores: dict[tuple[str, str], TrackingStore] = {}
        self._away: dict[str, str] = {}

    def log(self) -> Iterator[LoggedChain]:
        """Log one chain after the other, oldest first."""
        chains: list[ChainManifest] = []
        groups: list[GroupManifest] = []
        yield from self._waiting(self._manifests, "chains", chains)
        yield from self._waiting(self._groups, "groups", groups)
        alone = [manifest for manifest in chains if manifest.parent is None]  # the others are their group's
        waiting: list[ChainManifest | GroupManifest] = [*alone, *groups]
        for manifest in sorted(waiting, key=lambda manifest: manifest.started):
            if isinstance(manifest, GroupManifest):
                yield self._log(manifest, self._groups)
            else:
                yield self._log(manifest, self._manifests)

    def _waiting(self, kept: Manifests[Kept], folder: str, waiting: list[Kept]) -> Iterator[LoggedChain]:
        """Fill a list with the manifests that wait; yields those that cannot be read."""
        try:
            names = kept.names()
        except OSError as error:
            yield LoggedChain("", "", "", "unreadable", detail=f"{folder}: {told(error)}")
            return
        for name in names:
            try:
                manifest = kept.read(name)
            except (ValueError, OSError) as error:
                detail = f"{folder}/{name}: {told(error)}"
                yield LoggedChain(name.partition(".")[0], "", "", "unreadable", detail=detail)
            else:
                if self._waits(manifest):
                    waiting.append(manifest)

    def _waits(self, manifest: ChainManifest | GroupManifest) -> bool:
        """Whether the store that it belongs to lacks some of it, as one does that has only been named now."""
        uri = self._address(manifest.tracking)
        return uri is not None and not (manifest.logged and manifest.tracking == without_credentials(uri))

    def _log(self, manifest: Kept, kept: Manifests[Kept]) -> LoggedChain:
        uri = self._address(manifest.tracking)
        assert uri is not None  # it waits, so it is ours
        shown = without_credentials(uri)
        name = manifest.key if isinstance(manifest, ChainManifest) else manifest.run_uuid
        kind = manifest.kind
        outcome = LoggedChain(name, manifest.experiment, shown, "running", detail=_whereabouts(manifest), kind=kind)
        if HIDDEN in uri:
            why = f"{uri} had credentials, which are not kept; name the experiment file that has them"
            return replace(outcome, status="failed", detail=why)
        lease = kept.lease(manifest)
        if lease is None:
            return outcome
        try:
            manifest = kept.of(manifest)  # somebody else may have been at it until now
            if not self._waits(manifest):
                return replace(outcome, status="logged", ended=manifest.status, detail="")
            if uri in self._away:
                return replace(outcome, status="away", detail=self._away[uri])
            return self._logged(manifest, kept, uri, outcome)
        except (ValueError, OSError) as error:
            return replace(outcome, status="failed", detail=told(error))
        finally:
            lease.release()

    def _logged(self, manifest: Kept, kept: Manifests[Kept], uri: str, outcome: LoggedChain) -> LoggedChain:
        from orchestrator.tracking.store import TrackingStore  # MLflow takes seconds to import

        before = sum(store.logged for store in self._stores.values())
        for attempt in range(1, TRIES + 1):
            try:
                if (uri, manifest.experiment) not in self._stores:
                    self._stores[uri, manifest.experiment] = TrackingStore(uri, manifest.experiment)
                store = self._stores[uri, manifest.experiment]
                run_id, status, runs = self._replay(manifest, store)
            except Exception as error:
                if not passes(error):
                    return replace(outcome, status="failed", detail=told(error))
                self._away[uri] = told(error)
                if attempt < TRIES:
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
        """Log it; returns its run, the status that it ended with, and how many runs it has in all."""
        from orchestrator.tracking.group_log import replay_group
        from orchestrator.tracking.replay import replay

        if isinstance(manifest, ChainManifest):
            run, status = replay(manifest, store, self._stages)
            return run.run_id, status, run.runs
        found = [self._manifests.find(name) for name in manifest.chains]
        trials = [trial for trial in found if trial is not None]
        group, status, runs = replay_group(manifest, trials, store, self._stages, self._groups.attachments(manifest))
        return group.run_id, status, runs


def _whereabouts(manifest: ChainManifest | GroupManifest) -> str:
    if manifest.status == RUNNING:
        return f"process {manifest.pid} on {manifest.host} runs it"
    return "another command is logging it"
