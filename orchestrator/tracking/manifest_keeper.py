"""Keeps the manifest of a running chain in the storage, from a background thread."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from orchestrator.chain_manifest import ChainManifest
from orchestrator.manifest_store import ManifestStore

BEAT_SECONDS = 30.0
"""Longest time between two writes; by them others see that the driver is alive."""

CLOSING_SECONDS = 30.0
"""Longest that a storage which does not answer is waited for."""


class ManifestKeeper:
    """Writes a manifest when it changes, and every so often; what fails is tried again at the next beat.

    Args:
        store: Where to.
        manifest: The first content; written before the constructor returns.
    """

    def __init__(self, store: ManifestStore, manifest: ChainManifest) -> None:
        self._store = store
        self._manifest = manifest
        self._before = manifest.wall_seconds
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._dirty = self._closing = False
        self.failure: OSError | None = None
        """Why the last write failed, or ``None`` when it did not."""
        self._write()
        self._thread = threading.Thread(target=self._run, name="nmt-manifest", daemon=True)
        self._thread.start()

    @property
    def manifest(self) -> ChainManifest:
        """The manifest as it is now."""
        wall = self._before + time.monotonic() - self._started
        return replace(self._manifest, wall_seconds=wall, seen=time.time())

    def trains(self, key: str) -> None:
        """Note, soon, that this run trains the stage of this key."""
        with self._changed:
            if key not in self._manifest.trained:
                self._manifest = replace(self._manifest, trained={**self._manifest.trained, key: time.time()})
                self._dirty = True
                self._changed.notify_all()

    def end(self, status: str) -> ChainManifest:
        """Write how the chain ended, and end the thread; returns what was written."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSING_SECONDS)
        self._manifest = replace(self.manifest, status=status)
        self._write(self._manifest)
        return self._manifest

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._closing, BEAT_SECONDS)
                self._dirty = False
                if self._closing:
                    return
            self._write()

    def _write(self, manifest: ChainManifest | None = None) -> None:
        try:
            self._store.write(manifest or self.manifest)
            self.failure = None
        except OSError as error:
            self.failure = error
