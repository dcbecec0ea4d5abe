"""Who trains which stage: of several processes that need the same one, one trains it and the others wait."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from pathlib import Path
from typing import Protocol

from trainers.store.file_lock import try_lock
from trainers.store.storage import Storage

BEAT_SECONDS = 5.0
"""Time between two signs of life of a claim on an object store."""

SILENT_SECONDS = 45.0
"""A claim on an object store without a sign of life for so long is nobody's any more."""

SETTLE_SECONDS = 1.0
"""Time after which two processes that wrote a claim at once see the same of the two."""

_FOLDER = "claims"


class Claim(Protocol):
    """The right to train a stage."""

    def release(self) -> None:
        """Let others have it."""


class StageClaims:
    """Claims on the stages of a storage; they end with the process at the latest.

    ::

        STORAGE/claims/KEY.lock    locked by the process that trains the stage
        STORAGE/claims/KEY         on an object store, which has no locks: who trains it, written anew as a sign of life

    Where files can be locked, a stage is claimed once. On an object store a claim is written and then read again; two
    processes could still both train a stage if one stood still for :data:`SILENT_SECONDS`, which costs time and nothing
    else, for they find the same result.

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows.

    Raises:
        ValueError: ``storage`` is no such path.
    """

    def __init__(self, storage: str) -> None:
        self._storage = Storage(storage)
        self._locks = Path(self._storage.name(_FOLDER)) if self._storage.local else None
        self._seen: dict[str, tuple[bytes, float]] = {}

    def take(self, key: str) -> Claim | None:
        """The claim on a stage, or ``None`` while somebody else has it.

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
        """Whether a claim is there that has changed lately, by this process's own clock."""
        content = _content(self._storage, path)
        if content is None:
            return False
        known, since = self._seen.get(key, (b"", 0.0))
        if content != known:
            self._seen[key] = content, time.monotonic()
            return True
        return time.monotonic() - since < SILENT_SECONDS


class _WrittenClaim:
    """A claim that is an object, written anew from a thread as long as it is held."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._owner = uuid.uuid4().hex
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="nmt-claim", daemon=True)
        self._write(0)

    def holds_after(self, seconds: float) -> bool:
        """Whether nobody else has written a claim since."""
        time.sleep(seconds)
        return self._is_ours()

    def start(self) -> None:
        """Begin to give signs of life."""
        self._thread.start()

    def release(self) -> None:
        """Let others have it; a storage that does not answer lets it expire."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_ours():  # one that had expired may be somebody else's by now
                self._storage.delete(self._path)

    def _is_ours(self) -> bool:
        content = _content(self._storage, self._path)
        return content is not None and content.startswith(self._owner.encode())

    def _beat(self) -> None:
        beats = 0
        while not self._released.wait(BEAT_SECONDS):
            beats += 1
            with contextlib.suppress(OSError):
                self._write(beats)

    def _write(self, beats: int) -> None:
        self._storage.write(self._path, f"{self._owner} {beats}".encode())


def _content(storage: Storage, path: str) -> bytes | None:
    try:
        return storage.read(path) if storage.exists(path) else None
    except FileNotFoundError:  # released meanwhile
        return None
