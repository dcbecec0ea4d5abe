"""Writes the manifest of a running chain or group to the storage, from a background thread."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, Generic, TypeVar

from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.manifests.store import Manifests

Kept = TypeVar("Kept", ChainManifest, GroupManifest)

BEAT_SECONDS = 30.0
"""Longest time between two writes, which show other processes that the driver is alive."""

CLOSING_SECONDS = 30.0
"""Longest wait for a storage that does not answer."""


class ManifestKeeper(Generic[Kept]):
    """Writes a manifest when it changes and at every heartbeat; a failed write is repeated at the next one.

    Args:
        store: The folder to write to.
        manifest: The manifest; written once before the constructor returns.
    """

    def __init__(self, store: Manifests[Kept], manifest: Kept) -> None:
        self._store: Manifests[Kept] = store
        self._manifest: Kept = manifest
        self._before = manifest.wall_seconds
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._dirty = self._closing = False
        self.failure: OSError | None = None
        """Why the last write failed, or ``None`` if it succeeded."""
        self._write()
        self._thread = threading.Thread(target=self._run, name="nmt-manifest", daemon=True)
        self._thread.start()

    @property
    def manifest(self) -> Kept:
        """The present manifest."""
        wall = self._before + time.monotonic() - self._started
        now: Kept = replace(self._manifest, wall_seconds=wall, seen=time.time())
        return now

    def change(self, **fields: Any) -> None:
        """Change fields of the manifest and write it soon."""
        with self._changed:
            self._manifest = replace(self._manifest, **fields)
            self._dirty = True
            self._changed.notify_all()

    def end(self, status: str) -> Kept:
        """Stop the thread and write the final status; return the manifest written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSING_SECONDS)
        last: Kept = replace(self.manifest, status=status)
        self._manifest = last
        self._write(last)
        return last

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._closing, BEAT_SECONDS)
                self._dirty = False
                if self._closing:
                    return
            self._write()

    def _write(self, manifest: Kept | None = None) -> None:
        try:
            self._store.write(manifest or self.manifest)
            self.failure = None
        except OSError as error:
            self.failure = error
