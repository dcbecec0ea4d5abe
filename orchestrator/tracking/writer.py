"""The single writer: tracking calls run in one background thread, in order, and can never cost a run."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Writer:
    """Runs tasks in order in a thread. After the first failure the rest is dropped; the stage store has it all."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nmt-tracking", daemon=True)
        self._thread.start()
        self.failure: Exception | None = None

    def submit(self, task: Callable[[], None]) -> None:
        """Run ``task`` after those submitted before."""
        self._tasks.put(task)

    def close(self, timeout: float) -> None:
        """Finish what was submitted, for at most ``timeout`` seconds."""
        self._tasks.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive() and self.failure is None:
            self.failure = TimeoutError(f"the tracking store did not take everything within {timeout:g} seconds")

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.failure is None:
                try:
                    task()
                except Exception as error:
                    self.failure = error
