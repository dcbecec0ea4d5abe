"""A process and its descendants, so that none is left behind."""

from __future__ import annotations

import importlib
import time
from contextlib import suppress
from typing import Any

import ray  # noqa: F401  # makes its copy of psutil importable

psutil: Any = importlib.import_module("psutil")

LEFT_WITHIN = 90.0
"""Seconds within which all processes of a command must have ended; two of Ray's agents take up to 60."""


class Family:
    """A process and its descendants.

    Args:
        pid: Id of the process.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: set[Any] = set()

    def look(self) -> None:
        """Record the present descendants; a process cannot be attributed once its parent is gone."""
        with suppress(psutil.NoSuchProcess):
            self._seen.update(self._root.children(recursive=True))

    def end(self, seconds: float) -> list[str]:
        """Wait for the recorded descendants to end; kill those that do not, and return their command lines."""
        end = time.monotonic() + seconds
        while (left := [process for process in self._seen if alive(process)]) and time.monotonic() < end:
            time.sleep(0.2)
        lines = []
        for process in left:
            with suppress(psutil.NoSuchProcess):
                lines.append(" ".join(process.cmdline())[:100])
                process.kill()
        return lines


def alive(process: Any) -> bool:
    """Return whether a psutil process still runs."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
