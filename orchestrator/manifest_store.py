"""Manifests of chains, kept beside their stages."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.fs as pafs

from orchestrator.chain_manifest import FINISHED, RUNNING, ChainManifest
from trainers.chain_spec import ChainSpec
from trainers.lease import Lease
from trainers.storage import Storage

SILENT_SECONDS = 120.0
"""A driver on another machine that has not written its manifest for so long is gone."""

_FOLDER = "chains"


class ManifestStore:
    """A folder of manifests.

    ::

        STORAGE/chains/KEY.RUN.json    a chain's manifest: key of its last stage, uuid of its run
        STORAGE/chains/KEY.RUN.lock    locked by the driver, or by who logs what it left; only where files can be

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows.

    Raises:
        ValueError: ``storage`` is no such path.
    """

    def __init__(self, storage: str) -> None:
        self._storage = Storage(storage)
        self._locks: Path | None = None
        if self._storage.local:
            self._locks = Path(pafs.FileSystem.from_uri(storage)[1]) / _FOLDER

    def names(self, key: str = "") -> list[str]:
        """Names of all manifests, or of those of the chain of this key."""
        start = f"{key}." if key else ""
        return [
            name
            for name in self._storage.files(_FOLDER)
            if name.startswith(start) and name.endswith(".json") and not name.startswith(".")
        ]

    def read(self, name: str) -> ChainManifest:
        """A manifest.

        Raises:
            ValueError: It is damaged, or was written by a program that this one does not understand.
            OSError: There is none of this name, or it cannot be read.
        """
        return ChainManifest.from_json(self._storage.read(f"{_FOLDER}/{name}").decode(errors="replace"))

    def of(self, manifest: ChainManifest) -> ChainManifest:
        """A manifest as it is by now.

        Raises:
            ValueError, OSError: As for :meth:`read`.
        """
        return self.read(_name(manifest))

    def write(self, manifest: ChainManifest) -> None:
        """Keep a manifest; an earlier one of the same run is replaced.

        Raises:
            OSError: The storage cannot be written to.
        """
        self._storage.write(f"{_FOLDER}/{_name(manifest)}", manifest.to_json().encode())

    def lease(self, manifest: ChainManifest) -> Lease | None:
        """The right to run this chain, or to log what it left; ``None`` while somebody else has it.

        Where files can be locked, that tells. On another machine, and where they cannot, a driver counts as running
        until it has been silent for :data:`SILENT_SECONDS`.
        """
        here = manifest.host == socket.gethostname()
        speaks = manifest.status == RUNNING and time.time() - manifest.seen < SILENT_SECONDS
        if self._locks is not None:
            try:
                lease = Lease.take(self._locks / _name(manifest).replace(".json", ".lock"))
            except OSError:
                pass
            else:
                if lease is not None and speaks and not here:  # locks that end at the border of a machine
                    lease.release()
                    return None
                return lease
        return None if speaks and (not here or _runs(manifest.pid)) else Lease()

    def begin(
        self, experiment: str, tracking: str, params: Mapping[str, str], spec: ChainSpec
    ) -> tuple[ChainManifest, Lease | None]:
        """The manifest of a chain that is about to run, not written yet, and the lease on it.

        Goes on with the latest run of the same chain in the same tracking store, if that did not finish, nobody is at
        it, and the experiment is the same to the letter; else it is a new run's.

        Args:
            experiment: Name of the MLflow experiment.
            tracking: Tracking URI, without credentials.
            params: The flattened experiment.
            spec: What the chain computes.
        """
        now = time.time()
        manifest = ChainManifest(
            run_uuid=uuid.uuid4().hex,
            experiment=experiment,
            tracking=tracking,
            params=params,
            spec=spec,
            stage_keys=spec.stage_keys(),
            started=now,
            seen=now,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        left = self._latest(manifest)
        if left is not None and _goes_on(left, manifest) and (lease := self.lease(left)) is not None:
            left = self._latest(manifest)  # it may have ended between the first look and the lease
            if left is not None and _goes_on(left, manifest):
                return replace(
                    manifest,
                    run_uuid=left.run_uuid,
                    started=left.started,
                    trained=left.trained,
                    wall_seconds=left.wall_seconds,
                ), lease
            lease.release()
        return manifest, self.lease(replace(manifest, status=FINISHED))

    def _latest(self, like: ChainManifest) -> ChainManifest | None:
        """The latest run of the same chain in the same tracking store, as far as anything can be read."""
        found = []
        with contextlib.suppress(OSError):
            for name in self.names(like.key):
                with contextlib.suppress(ValueError, OSError):
                    found.append(self.read(name))
        there = (like.tracking, like.experiment)
        same = [manifest for manifest in found if (manifest.tracking, manifest.experiment) == there]
        return max(same, key=lambda manifest: manifest.started, default=None)


def _name(manifest: ChainManifest) -> str:
    return f"{manifest.key}.{manifest.run_uuid}.json"


def _goes_on(left: ChainManifest, manifest: ChainManifest) -> bool:
    return left.status != FINISHED and left.params == manifest.params and left.stage_keys == manifest.stage_keys


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
