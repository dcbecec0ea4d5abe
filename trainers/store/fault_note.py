"""A note of an error that no retry would mend, where the workers that are started in a lost one's place find it."""

from __future__ import annotations

import contextlib

from nmt.trainers.store.storage import Storage


class FaultNote:
    """``STORAGE/faults/ATTEMPT.txt``.

    Args:
        storage: Folder or URI of the finished stages.
        attempt: Names the start of the workers; without a name there is no note.
    """

    def __init__(self, storage: str, attempt: str) -> None:
        self._storage = Storage(storage)
        self._path = f"faults/{attempt}.txt" if attempt else ""

    def read(self) -> str | None:
        """Return the note, or ``None``."""
        if not self._path or not self._storage.exists(self._path):
            return None
        return self._storage.read(self._path).decode()

    def write(self, reason: str) -> None:
        """Write the note; a storage that is away makes it none, and the workers are then started again in vain."""
        if self._path:
            with contextlib.suppress(OSError):
                self._storage.write(self._path, reason.encode())

    def delete(self) -> None:
        """Delete the note, if there is one."""
        if self._path:
            with contextlib.suppress(OSError):
                self._storage.delete(self._path)
