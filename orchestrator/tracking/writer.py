"""The single writer: what is to be tracked is written in a background thread, in order, and can never cost a run."""

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
"""Items that are handed over together; while the store is away or slow, they gather."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before the second try; doubled before each further one, up to the longest."""


class Writer(Generic[Item]):
    """Hands items to a function in a thread, in order; tries again, later and later, what fails in passing.

    Args:
        write: Called with the items that wait. It must not matter when it is called again with items some of which it
            has written: after a failure nobody knows which.
        passes: Whether a failure may pass by itself. After another one nothing more is written.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None], passes: Callable[[Exception], bool]) -> None:
        self._write = write
        self._passes = passes
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._stopped = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="nmt-tracking", daemon=True)
        self._thread.start()
        self.failure: Exception | None = None
        """Why the last try failed, or ``None`` when it did not."""

    @property
    def waiting(self) -> int:
        """Items that are not written yet."""
        return len(self._waiting)

    @property
    def is_trying(self) -> bool:
        """Whether it tries again what has failed."""
        return self.failure is not None and not self._stopped

    def submit(self, item: Item) -> None:
        """Write ``item`` after those submitted before; never waits."""
        with self._changed:
            if not self._stopped:
                self._waiting.append(item)
                self._changed.notify_all()

    def close(self, timeout: float, patience: float) -> bool:
        """Write what was submitted, and end. Ctrl-C ends the waiting, and nothing else.

        Args:
            timeout: Longest to wait, in seconds.
            patience: Longest to wait while every try fails; a try that is under way is waited for, since after an
                outage there is much to write.

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
                self.failure = TimeoutError(f"it did not take everything within {time.monotonic() - start:.0f} seconds")
            return not self._waiting

    def _run(self) -> None:
        try:
            while items := self._next():
                if not self._written(items):
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
        """What waits; nothing when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._stopped)
            return [] if self._stopped else list(islice(self._waiting, MOST_AT_ONCE))

    def _written(self, items: Sequence[Item]) -> bool:
        delay = FIRST_DELAY
        while not self._stopped:
            self._busy = True
            try:
                self._write(items)
            except Exception as error:
                if not self._goes_on_after(error, delay):
                    return False
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                self.failure = None
                self._busy = False
                return True
        return False

    def _goes_on_after(self, error: Exception, delay: float) -> bool:
        """Wait before the next try; the beginning of the end is a reason to try at once."""
        passes = self._passes(error)
        with self._changed:
            self.failure = error
            self._busy = False
            self._changed.notify_all()
            if passes:
                was_closing = self._closing
                self._changed.wait_for(lambda: self._stopped or self._closing > was_closing, delay)
        return passes
