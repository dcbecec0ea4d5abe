"""What a command reports while it works: text for people, or JSON lines for log collectors."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from nmt.orchestrator.terminal.json_log import JsonLog, Level
from nmt.orchestrator.terminal.live import draws

if TYPE_CHECKING:
    from nmt.orchestrator.terminal.chain_bars import ChainBars
    from nmt.orchestrator.terminal.chain_lines import ChainLines
    from nmt.orchestrator.terminal.group_bars import GroupBars
    from nmt.orchestrator.terminal.group_lines import GroupLines
    from nmt.orchestrator.trials.forecast import Forecast


class Output(ABC):
    """Messages and progress of a command; its results go to standard output.

    Args:
        clock: Seconds, for the pace of lines and for durations.
        terminal: Where bars are drawn; without it, progress is written in lines.
    """

    def __init__(self, clock: Callable[[], float], terminal: Console | None = None) -> None:
        self._clock = clock
        self._terminal = terminal

    @abstractmethod
    def about(self, **fields: Any) -> None:
        """Set fields of all further lines, such as ``verb`` and ``experiment``; people know what they asked for."""

    @abstractmethod
    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        """Report an event.

        Args:
            message: What a person reads.
            event: The event's stable name.
            level: How bad it is.
            fields: What a program reads.
        """

    @abstractmethod
    def note(self, message: str, event: str, **fields: Any) -> None:
        """Report to programs alone what people see elsewhere: in the printed result, or in the bars."""

    def chain(self, levels: Sequence[Sequence[str]]) -> ChainBars | ChainLines:
        """Return a display of a chain with these levels."""
        from nmt.orchestrator.terminal.chain_bars import ChainBars
        from nmt.orchestrator.terminal.chain_lines import ChainLines

        if self._terminal is not None:
            return ChainBars(levels, self._terminal)
        return ChainLines(levels, self.say, self._clock)

    def trials(self, name: str, expected: Forecast) -> GroupBars | GroupLines:
        """Return a display of a group of trials and of what they are expected to cost."""
        from nmt.orchestrator.terminal.group_bars import GroupBars
        from nmt.orchestrator.terminal.group_lines import GroupLines

        if self._terminal is not None:
            return GroupBars(name, expected, self._terminal)
        return GroupLines(expected, self.say, self.note, self._clock)


class TextOutput(Output):
    """Text: live bars on a terminal and in a notebook, plain lines elsewhere.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console.get_time, console if draws(console) else None)
        self._console = console

    def about(self, **fields: Any) -> None:
        pass

    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        text = Text(message)
        text.highlight_regex(r"^error:", "red")
        self._console.print(text, soft_wrap=True)

    def note(self, message: str, event: str, **fields: Any) -> None:
        pass


class JsonOutput(Output):
    """JSON lines.

    Args:
        log: Where to.
        clock: Seconds.
    """

    def __init__(self, log: JsonLog, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._log = log

    def about(self, **fields: Any) -> None:
        self._log.about(**fields)

    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        self._log.write(event, message, level, **fields)

    def note(self, message: str, event: str, **fields: Any) -> None:
        self._log.write(event, message, **fields)
