"""A process and all that it starts, so that none of them is left behind."""

from __future__ import annotations

import importlib
import time
from contextlib import suppress
from typing import Any

import ray  # noqa: F401  # brings psutil

psutil: Any = importlib.import_module("psutil")

LEFT_WITHIN = 90.0
"""Seconds within which every process of a command has to be gone; two of Ray's agents try to reach others for 60."""


class Family:
    """A command's process and all that it starts, and that these start.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: set[Any] = set()

    def look(self) -> None:
        """Take note of the present descendants: once their parents are gone, nobody knows whose they were."""
        with suppress(psutil.NoSuchProcess):
            self._seen.update(self._root.children(recursive=True))

    def end(self, seconds: float) -> list[str]:
        """Wait for all of them to be gone; those that are not are ended, and their command lines returned."""
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
    """Whether a process of psutil still runs."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
