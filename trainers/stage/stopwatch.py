"""Where the time of a stage goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds under names; a part inside another one counts for itself alone.

    Times are the host's. On a GPU, work that was started in one part and waited for in another counts for the other;
    evaluations and checkpoints end with a wait.

    Args:
        rest: Name of the time that no part claims.
    """

    def __init__(self, rest: str) -> None:
        self._seconds = {rest: 0.0}
        self._name = rest
        self._since = time.monotonic()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside under this name."""
        outer = self._name
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def seconds(self) -> dict[str, float]:
        """Name → seconds so far."""
        self._switch(self._name)
        return dict(self._seconds)

    def go_on_from(self, seconds: Mapping[str, float]) -> None:
        """Add what was spent before an interruption."""
        for name, value in seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + value

    def _switch(self, name: str) -> None:
        now = time.monotonic()
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now
