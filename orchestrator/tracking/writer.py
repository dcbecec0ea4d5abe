"""The single writer: a background thread that writes items in order and retries, so that tracking never fails a run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")

MOST_AT_ONCE = 200
"""Most items in one call; items gather while the store is away or slow."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before the first retry; doubled before each further one, up to the longest."""


class Writer(Generic[Item]):
    """Hands items to a function in a thread, in order, and retries transient failures with growing delays.

    Args:
        write: Called with the waiting items. It must be idempotent: after a failure it is called again with all of
            them, since some may be written already.
        is_transient: Whether a failure is worth a retry. After any other failure nothing more is written.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None], is_transient: Callable[[Exception], bool]) -> None:
        self._write = write
        self._is_transient = is_transient
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._stopped = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="nmt-tracking", daemon=True)
        self._thread.start()
        self.failure: Exception | None = None
        """Why the last attempt failed, or ``None`` if it succeeded."""

    @property
    def waiting(self) -> int:
        """Number of items not written yet."""
        return len(self._waiting)

    @property
    def is_retrying(self) -> bool:
        """Whether the last attempt failed and will be repeated."""
        return self.failure is not None and not self._stopped

    def submit(self, item: Item) -> None:
        """Queue ``item`` for writing; never blocks."""
        with self._changed:
            if not self._stopped:
                self._waiting.append(item)
                self._changed.notify_all()

    def close(self, timeout: float, patience: float) -> bool:
        """Write the remaining items and stop the thread. Ctrl-C ends the wait and nothing else.

        Args:
            timeout: Longest wait, in seconds.
            patience: Longest wait while every attempt fails, in seconds. An attempt under way is waited for until the
                timeout: after an outage there is much to write.

        Returns:
            Whether everything was written.
        """
        start = time.monotonic()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            with contextlib.suppress(KeyboardInterrupt):
                while not self._stopped:
                    failing = self.failure is not None and not self._busy
                    left = start + (min(timeout, patience) if failing else timeout) - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
            self._stopped = True
            self._changed.notify_all()
            if self._waiting and self.failure is None:
                self.failure = TimeoutError(
                    f"it did not take every record within {time.monotonic() - start:.0f} seconds"
                )
            return not self._waiting

    def _run(self) -> None:
        try:
            while items := self._next():
                if not self._write_with_retries(items):
                    return
                with self._changed:
                    for _ in items:
                        self._waiting.popleft()
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def _next(self) -> Sequence[Item]:
        """Wait for items and return them; an empty sequence ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._stopped)
            return [] if self._stopped else list(islice(self._waiting, MOST_AT_ONCE))

    def _write_with_retries(self, items: Sequence[Item]) -> bool:
        """Write items; return whether they are written, rather than given up."""
        delay = FIRST_DELAY
        while not self._stopped:
            self._busy = True
            try:
                self._write(items)
            except Exception as error:
                if not self._wait_to_retry(error, delay):
                    return False
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                self.failure = None
                self._busy = False
                return True
        return False

    def _wait_to_retry(self, error: Exception, delay: float) -> bool:
        """Wait before the next attempt, unless closing begins; return whether there is one."""
        transient = self._is_transient(error)
        with self._changed:
            self.failure = error
            self._busy = False
            self._changed.notify_all()
            if transient:
                was_closing = self._closing
                self._changed.wait_for(lambda: self._stopped or self._closing > was_closing, delay)
        return transient
