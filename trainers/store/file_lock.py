"""A file lock that never blocks."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(path: Path) -> FileLock | None:
    """Lock a file; return ``None`` if another process or thread holds the lock.

    The operating system releases the lock when the process ends. Child processes do not inherit it. The file is not
    deleted, because another process may just have locked it.

    Args:
        path: The file; it is created with its folder if it does not exist.

    Raises:
        OSError: The file cannot be opened, or its file system does not support locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except NotImplementedError as error:
        raise OSError(f"the file system of {path} does not support locks") from error
    return lock
