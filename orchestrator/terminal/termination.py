"""SIGTERM, as schedulers, Kubernetes and spot nodes send it: like Ctrl-C, but with its own exit status."""

from __future__ import annotations

import signal
import threading
from types import FrameType

STATUS = 143
"""Exit status of a command that SIGTERM ended: 128 + 15, as shells have it."""

_received = threading.Event()


def heed_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C from now on; call it again after Ray has started, which sets handlers of its own.

    Ray's own handler in C++ prints a stack and aborts the process (status 134), and leaves runs open in MLflow.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)


def was_terminated() -> bool:
    """Whether SIGTERM has arrived."""
    return _received.is_set()


def _end(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: Ray Train replaces its handler while it trains."""
    if _received.is_set():  # it is on its way out
        return
    _received.set()
    current = signal.getsignal(signal.SIGINT)
    if callable(current):
        current(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt
