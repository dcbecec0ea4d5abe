"""Chains in a storage whose log is not complete, and how it gets so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from orchestrator.manifests.chain import RUNNING, ChainManifest
from orchestrator.manifests.store import ManifestStore
from orchestrator.tracking.address import HIDDEN, without_credentials
from orchestrator.tracking.failures import passes, told
from orchestrator.tracking.writer import FIRST_DELAY
from trainers.stage_store import StageStore

if TYPE_CHECKING:
    from orchestrator.tracking.store import TrackingStore

TRIES = 4
"""Times that a tracking store which is away is tried, half a second after the first time, then a second and so on."""


@dataclass(frozen=True)
class LoggedChain:
    """What came of logging one chain.

    Attributes:
        chain: Key of its last stage.
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


class Backlog:
    """The chains of a storage that are not logged to their end.

    Args:
        storage: The storage.
        address: Turns the tracking URI of a manifest, which has no credentials, into the one to open; ``None`` when
            the manifest is none of the caller's.

    Raises:
        ValueError: ``storage`` is no absolute path and no URI.
    """

    def __init__(self, storage: str, address: Callable[[str], str | None]) -> None:
        self._manifests = ManifestStore(storage)
        self._stages = StageStore(storage)
        self._address = address
        self._stores: dict[tuple[str, str], TrackingStore] = {}
        self._away: dict[str, str] = {}

    def log(self) -> Iterator[LoggedChain]:
        """Log one chain after the other, oldest first."""
        waiting: list[ChainManifest] = []
        try:
            names = self._manifests.names()
        except OSError as error:
            yield LoggedChain("", "", "", "unreadable", detail=f"chains: {told(error)}")
            return
        for name in names:
            try:
                manifest = self._manifests.read(name)
            except (ValueError, OSError) as error:
                yield LoggedChain(name.partition(".")[0], "", "", "unreadable", detail=f"chains/{name}: {told(error)}")
            else:
                if not manifest.logged and self._address(manifest.tracking) is not None:
                    waiting.append(manifest)
        for manifest in sorted(waiting, key=lambda manifest: manifest.started):
            yield self._log(manifest)

    def _log(self, manifest: ChainManifest) -> LoggedChain:
        uri = self._address(manifest.tracking)
        assert uri is not None  # it waits, so it is ours
        shown = without_credentials(uri)
        outcome = LoggedChain(manifest.key, manifest.experiment, shown, "running", detail=_whereabouts(manifest))
        if HIDDEN in uri:
            why = f"{uri} had credentials, which are not kept; name the experiment file that has them"
            return replace(outcome, status="failed", detail=why)
        lease = self._manifests.lease(manifest)
        if lease is None:
            return outcome
        try:
            manifest = self._manifests.of(manifest)  # somebody else may have been at it until now
            if manifest.logged:
                return replace(outcome, status="logged", ended=manifest.status, detail="")
            if uri in self._away:
                return replace(outcome, status="away", detail=self._away[uri])
            return self._logged(manifest, uri, outcome)
        except (ValueError, OSError) as error:
            return replace(outcome, status="failed", detail=told(error))
        finally:
            lease.release()

    def _logged(self, manifest: ChainManifest, uri: str, outcome: LoggedChain) -> LoggedChain:
        from orchestrator.tracking.replay import replay  # MLflow takes seconds to import
        from orchestrator.tracking.store import TrackingStore

        before = sum(store.logged for store in self._stores.values())
        for attempt in range(1, TRIES + 1):
            try:
                if (uri, manifest.experiment) not in self._stores:
                    self._stores[uri, manifest.experiment] = TrackingStore(uri, manifest.experiment)
                store = self._stores[uri, manifest.experiment]
                run, status = replay(manifest, store, self._stages)
            except Exception as error:
                if not passes(error):
                    return replace(outcome, status="failed", detail=told(error))
                self._away[uri] = told(error)
                if attempt < TRIES:
                    time.sleep(FIRST_DELAY * 2 ** (attempt - 1))
            else:
                self._away.pop(uri, None)
                self._manifests.write(replace(manifest, status=status, logged=True, tracking=outcome.tracking))
                points = sum(store.logged for store in self._stores.values()) - before
                return replace(
                    outcome,
                    status="logged",
                    ended=status,
                    runs=run.runs,
                    points=points,
                    run_id=run.run_id,
                    link=store.link(run.run_id),
                    detail="",
                )
        return replace(outcome, status="away", detail=self._away[uri])


def _whereabouts(manifest: ChainManifest) -> str:
    if manifest.status == RUNNING:
        return f"process {manifest.pid} on {manifest.host} runs it"
    return "another command is logging it"
