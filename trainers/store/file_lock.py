"""A lock on a file that is never waited for."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(path: Path) -> FileLock | None:
    """Lock a file, or return ``None`` when another process or thread holds it.

    The operating system frees the lock when the process ends. Child processes do not inherit it, and the file stays:
    whoever deleted it could delete a file that another process has just locked.

    Args:
        path: The file; created, with its folder, when it is not there.

    Raises:
        OSError: The file cannot be opened, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except NotImplementedError as error:
        raise OSError(f"the file system of {path} has no locks") from error
    return lock
