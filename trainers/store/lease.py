"""A lease: as long as a process holds it, no other does; it ends with the process at the latest."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """Taken with :meth:`take`; where the storage has no locks, one without a file stands for it.

    Args:
        handle: Open file that is locked; ``None`` where the storage has no locks.
    """

    def __init__(self, handle: int | None = None) -> None:
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> Lease | None:
        """The lease that goes with a file, or ``None`` when somebody else holds it.

        Raises:
            OSError: The file cannot be opened, or its file system has no locks.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by child processes, which would hold the lease after this one is gone. The file stays: who
        # deleted it might delete what another process has just locked.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            raise
        return cls(handle)

    def release(self) -> None:
        """Let others take it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
