"""What a command tells while it works: text for people, or JSON lines for log collectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console
from rich.text import Text

from orchestrator.terminal.json_log import Level

if TYPE_CHECKING:
    from orchestrator.trials.forecast import Forecast
    from orchestrator.trials.trial import Trial, TrialResult
    from trainers.reporter import Event


class Display(Protocol):
    """Is shown something from its entry as a context to its exit."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ShowsChain(Display, Protocol):
    """Shows how far a chain is."""

    def show(self, event: Event) -> None:
        """Take in an event."""


class ShowsTrials(Display, Protocol):
    """Shows how far a group of trials is."""

    def add(self, trials: Mapping[int, Trial]) -> None:
        """Trials that are to run, by number."""

    def show(self, trial: int, event: Event) -> None:
        """Take in an event of a trial."""

    def end(self, trial: int, result: TrialResult) -> None:
        """A trial has ended."""


class Output(Protocol):
    """Progress and messages of a command; its results go to standard output."""

    def about(self, **fields: Any) -> None:
        """What all that follows is about, such as ``verb`` and ``experiment``."""

    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        """Tell something.

        Args:
            message: What a person reads.
            event: Its stable name, for programs.
            level: How bad it is.
            fields: Its content, for programs.
        """

    def note(self, message: str, event: str, **fields: Any) -> None:
        """Tell a program what people see elsewhere: in the result that is printed, or in the bars."""

    def chain(self, levels: Sequence[Sequence[str]]) -> ShowsChain:
        """A display of a chain with these levels."""

    def trials(self, name: str, expected: Forecast) -> ShowsTrials:
        """A display of a group of trials, and what they are expected to cost."""


class TextOutput:
    """Text: live bars on a terminal, plain lines elsewhere.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def about(self, **fields: Any) -> None:
        """People know what they asked for."""

    def say(self, message: str, event: str = "message", level: Level = "info", **fields: Any) -> None:
        """Print the message."""
        text = Text(message)
        text.highlight_regex(r"^error:", "red")
        self._console.print(text, soft_wrap=True)

    def note(self, message: str, event: str, **fields: Any) -> None:
        """Nothing."""

    def chain(self, levels: Sequence[Sequence[str]]) -> ShowsChain:
        """Bars or lines."""
        from orchestrator.terminal.chain_display import ProgressDisplay

        return ProgressDisplay(levels, self._console)

    def trials(self, name: str, expected: Forecast) -> ShowsTrials:
        """Bars or lines."""
        from orchestrator.terminal.group_display import GroupDisplay

        return GroupDisplay(name, self._console, expected)
