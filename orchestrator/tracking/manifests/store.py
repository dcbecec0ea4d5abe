"""Folders of manifests, beside the stages in the storage."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from nmt.orchestrator.tracking.manifests.chain_manifest import FINISHED, RUNNING, ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.store.file_lock import try_lock
from nmt.trainers.store.stage_claims import Claim
from nmt.trainers.store.storage import Storage

SILENT_SECONDS = 120.0
"""A driver on another machine that has not written its manifest for this long counts as gone."""


class Manifest(Protocol):
    """A manifest: who runs the run, since when, and its status."""

    @property
    def file(self) -> str:
        """Name of its file."""

    @property
    def host(self) -> str:
        """Name of the driver's machine."""

    @property
    def pid(self) -> int:
        """Process id of the driver there."""

    @property
    def seen(self) -> float:
        """Time of the driver's last write of this manifest, in seconds since 1970."""

    @property
    def started(self) -> float:
        """Start, in seconds since 1970."""

    @property
    def status(self) -> str:
        """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""

    def to_json(self) -> str:
        """Return its content."""


Kept = TypeVar("Kept", bound=Manifest)


class Manifests(Generic[Kept]):
    """A folder of manifests.

    ::

        STORAGE/FOLDER/NAME.json    a manifest
        STORAGE/FOLDER/NAME.lock    locked by the driver, or by a process that logs the run; local storage only

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow supports.
        folder: Name of the folder.
        read: Parses a manifest.

    Raises:
        ValueError: ``storage`` is neither.
    """

    def __init__(self, storage: str, folder: str, read: Callable[[str], Kept]) -> None:
        self._storage = Storage(storage)
        self._folder = folder
        self._read = read
        self._locks = Path(self._storage.full_path(folder)) if self._storage.local else None

    def names(self, start: str = "") -> list[str]:
        """Return the names of all manifests whose names begin with ``start``."""
        return [
            name
            for name in self._storage.files(self._folder)
            if name.startswith(start) and name.endswith(".json") and not name.startswith(".")
        ]

    def read(self, name: str) -> Kept:
        """Read a manifest.

        Raises:
            ValueError: It is damaged or of another version.
            OSError: There is none of this name, or it cannot be read.
        """
        return self._read(self._storage.read(f"{self._folder}/{name}").decode(errors="replace"))

    def find(self, name: str) -> Kept | None:
        """Return a manifest, or ``None`` where there is none of this name or it cannot be read."""
        try:
            return self.read(name)
        except (ValueError, OSError):
            return None

    def reread(self, manifest: Kept) -> Kept:
        """Read the present state of a manifest.

        Raises:
            ValueError, OSError: As for :meth:`read`.
        """
        return self.read(manifest.file)

    def write(self, manifest: Kept) -> None:
        """Write a manifest, replacing that of the same run.

        Raises:
            OSError: The storage cannot be written to.
        """
        self._storage.write(f"{self._folder}/{manifest.file}", manifest.to_json().encode())

    def lease(self, manifest: Kept) -> Claim | None:
        """Take the lease to run this run, or to log it; ``None`` while another process holds it.

        On a local storage the lock file decides. Otherwise, and for a driver on another machine, the driver counts as
        running until it has been silent for :data:`SILENT_SECONDS`.
        """
        here = manifest.host == socket.gethostname()
        beats = manifest.status == RUNNING and time.time() - manifest.seen < SILENT_SECONDS
        if self._locks is not None:
            try:
                lease = try_lock(self._locks / manifest.file.replace(".json", ".lock"))
            except OSError:
                pass
            else:
                if lease is not None and beats and not here:  # file locks may not reach across machines
                    lease.release()
                    return None
                return lease
        return None if beats and (not here or _is_alive(manifest.pid)) else _Unlocked()

    def take_over(self, new: Kept, like: Callable[[Kept], bool], start: str = "") -> tuple[Kept | None, Claim | None]:
        """Return the latest unfinished run of its kind whose process is gone, with the lease on it.

        Args:
            new: The run to start where there is none; the lease is then on this one.
            like: Whether a manifest is of the same kind.
            start: Beginning of the names to search.
        """
        left = self._latest(like, start)
        if left is not None and left.status != FINISHED and (lease := self.lease(left)) is not None:
            left = self._latest(like, start)  # it may have ended before the lease was taken
            if left is not None and left.status != FINISHED:
                return left, lease
            lease.release()
        return None, self.lease(new)

    def _latest(self, like: Callable[[Kept], bool], start: str) -> Kept | None:
        found: list[Kept] = []
        with contextlib.suppress(OSError):
            found = [kept for name in self.names(start) if (kept := self.find(name)) is not None and like(kept)]
        return max(found, key=lambda kept: kept.started, default=None)


class ManifestStore(Manifests[ChainManifest]):
    """Manifests of chains: ``STORAGE/chains/KEY.UUID.json``, with the key of the last stage and the run's UUID."""

    def __init__(self, storage: str) -> None:
        super().__init__(storage, "chains", ChainManifest.from_json)

    def begin(
        self, experiment: str, tracking: str, params: Mapping[str, str], spec: ChainSpec
    ) -> tuple[ChainManifest, Claim | None]:
        """Return the manifest of a chain that is about to run, not yet written, with the lease on it.

        It resumes the latest run of the same chain with the same params in the same tracking store, if that run is
        unfinished and its process is gone; otherwise it is a new run.

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

        def same(kept: ChainManifest) -> bool:
            return kept.parent is None and _equal_in(kept, manifest, "experiment", "tracking", "params", "stage_keys")

        left, lease = self.take_over(replace(manifest, status=FINISHED), same, f"{manifest.key}.")
        if left is None:
            return manifest, lease
        return replace(
            manifest,
            run_uuid=left.run_uuid,
            started=left.started,
            trained=left.trained,
            wall_seconds=left.wall_seconds,
        ), lease


class GroupStore(Manifests[GroupManifest]):
    """Manifests of sweeps, grids and comparisons.

    ::

        STORAGE/groups/UUID.json      a manifest
        STORAGE/groups/UUID/NAME      files of the group
    """

    def __init__(self, storage: str) -> None:
        super().__init__(storage, "groups", GroupManifest.from_json)

    def attach(self, manifest: GroupManifest, files: Mapping[str, bytes]) -> str:
        """Write files of a group, replacing those of the same names; return their folder.

        Raises:
            OSError: The storage cannot be written to.
        """
        folder = f"{self._folder}/{manifest.run_uuid}"
        for name, content in files.items():
            self._storage.write(f"{folder}/{name}", content)
        return self._storage.full_path(folder)

    def attachments(self, manifest: GroupManifest) -> Mapping[str, bytes]:
        """Return the files of a group: name → content."""
        folder = f"{self._folder}/{manifest.run_uuid}"
        names = self._storage.files(folder)
        names += [f"figures/{name}" for name in self._storage.files(f"{folder}/figures")]
        return {name: self._storage.read(f"{folder}/{name}") for name in names if not name.startswith(".")}

    def begin(self, manifest: GroupManifest) -> tuple[GroupManifest, Claim | None]:
        """Return the manifest of a group that is about to run, not yet written, with the lease on it.

        It resumes the latest run of the same group, with its planned cost, if that run is unfinished and its process is
        gone.
        """

        def same(kept: GroupManifest) -> bool:
            return _equal_in(kept, manifest, "kind", "name", "experiment", "tracking", "params")

        left, lease = self.take_over(replace(manifest, status=FINISHED), same)
        if left is None:
            return manifest, lease
        return replace(
            manifest,
            run_uuid=left.run_uuid,
            started=left.started,
            wall_seconds=left.wall_seconds,
            planned=left.planned,
        ), lease


def _equal_in(one: object, other: object, *fields: str) -> bool:
    return all(getattr(one, field) == getattr(other, field) for field in fields)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Unlocked:
    """Stands for a lock where the storage has none."""

    def release(self) -> None:
        """Do nothing."""
