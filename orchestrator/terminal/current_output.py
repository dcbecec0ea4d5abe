"""The output of this process."""

from __future__ import annotations

from rich.console import Console

from nmt.orchestrator.terminal import standard_error
from nmt.orchestrator.terminal.output import JsonOutput, Output, TextOutput

_current: Output = TextOutput(Console(stderr=True))


def current_output() -> Output:
    """Return the output of this process."""
    return _current


def use_log_format(log_format: str) -> None:
    """Write ``text`` or ``json`` from now on; nothing changes where that is done already."""
    global _current
    if log_format == "json" and not isinstance(_current, JsonOutput):
        _current = JsonOutput(standard_error.capture())
    if log_format == "text" and not isinstance(_current, TextOutput):
        standard_error.release()
        _current = TextOutput(Console(stderr=True))
