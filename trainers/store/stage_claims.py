"""Claims on stages: of several processes that need the same stage, one trains it and the others wait."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from pathlib import Path
from typing import Protocol

from nmt.trainers.store.file_lock import try_lock
from nmt.trainers.store.storage import Storage

HEARTBEAT_SECONDS = 5.0
"""Interval between heartbeats of a claim on an object store."""

EXPIRY_SECONDS = 45.0
"""Time without a heartbeat after which a claim on an object store expires."""

SETTLE_SECONDS = 1.0
"""Time after which two processes that wrote a claim at the same moment read the same one of the two."""

_FOLDER = "claims"


class Claim(Protocol):
    """The exclusive right to train a stage."""

    def release(self) -> None:
        """Give up the claim."""


class StageClaims:
    """Claims on the stages of a storage. A claim ends with its process at the latest.

    ::

        STORAGE/claims/KEY.lock    locked by the process that trains the stage
        STORAGE/claims/KEY         on an object store, which has no locks: the claim's owner and its last heartbeat

    With file locks a stage has one claim at a time. On an object store a claim is written and then read again. Two
    processes could still train the same stage there if one of them stalled for :data:`EXPIRY_SECONDS`. That costs time
    only: both get the same result.

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows.

    Raises:
        ValueError: ``storage`` is neither.
    """

    def __init__(self, storage: str) -> None:
        self._storage = Storage(storage)
        self._locks = Path(self._storage.full_path(_FOLDER)) if self._storage.local else None
        self._seen: dict[str, tuple[bytes, float]] = {}

    def try_claim(self, key: str) -> Claim | None:
        """Claim a stage; return ``None`` while another process holds it.

        Raises:
            OSError: The storage cannot be written to.
        """
        if self._locks is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                return try_lock(self._locks / f"{key}.lock")
        path = f"{_FOLDER}/{key}"
        if self._is_alive(key, path):
            return None
        claim = _WrittenClaim(self._storage, path)
        if not claim.holds_after(SETTLE_SECONDS):
            return None
        self._seen.pop(key, None)
        claim.start()
        return claim

    def _is_alive(self, key: str, path: str) -> bool:
        """Whether there is a claim that changed recently, by this process's own clock."""
        content = _read_claim(self._storage, path)
        if content is None:
            return False
        known, since = self._seen.get(key, (b"", 0.0))
        if content != known:
            self._seen[key] = content, time.monotonic()
            return True
        return time.monotonic() - since < EXPIRY_SECONDS


class _WrittenClaim:
    """A claim on an object store: an object that a thread rewrites as a heartbeat."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._owner = uuid.uuid4().hex
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="nmt-claim", daemon=True)
        self._write(0)

    def holds_after(self, seconds: float) -> bool:
        """Wait, and return whether no other process has overwritten the claim."""
        time.sleep(seconds)
        return self._is_ours()

    def start(self) -> None:
        """Start the heartbeat."""
        self._thread.start()

    def release(self) -> None:
        """Give up the claim; when the storage does not respond, the claim expires."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_ours():  # it may have expired and belong to another process now
                self._storage.delete(self._path)

    def _is_ours(self) -> bool:
        content = _read_claim(self._storage, self._path)
        return content is not None and content.startswith(self._owner.encode())

    def _beat(self) -> None:
        beats = 0
        while not self._released.wait(HEARTBEAT_SECONDS):
            beats += 1
            with contextlib.suppress(OSError):
                self._write(beats)

    def _write(self, beats: int) -> None:
        self._storage.write(self._path, f"{self._owner} {beats}".encode())


def _read_claim(storage: Storage, path: str) -> bytes | None:
    try:
        return storage.read(path) if storage.exists(path) else None
    except FileNotFoundError:  # released between the two calls
        return None
