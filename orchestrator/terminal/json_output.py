"""What a command tells while it works, as JSON lines for log collectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.terminal.json_log import JsonLog, Level

if TYPE_CHECKING:
    from orchestrator.terminal.output import ShowsChain, ShowsTrials
    from orchestrator.trials.forecast import Forecast


class JsonOutput:
    """JSON lines.

    Args:
        log: Where to.
        clock: Seconds, for the pace.
    """

    def __init__(self, log: JsonLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock

    def about(self, **fields: Any) -> None:
        """Fields of all further lines."""
        self._log.about(**fields)

    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        """Write a line."""
        self._log.write(event, message, level, **fields)

    def note(self, message: str, event: str, **fields: Any) -> None:
        """Write a line."""
        self._log.write(event, message, **fields)

    def chain(self, levels: Sequence[Sequence[str]]) -> ShowsChain:
        """Lines about a chain."""
        from orchestrator.terminal.json_progress import JsonChainDisplay

        return JsonChainDisplay(levels, self._log, self._clock)

    def trials(self, name: str, expected: Forecast) -> ShowsTrials:
        """Lines about trials."""
        from orchestrator.terminal.json_progress import JsonGroupDisplay

        return JsonGroupDisplay(name, self._log, expected, self._clock)
