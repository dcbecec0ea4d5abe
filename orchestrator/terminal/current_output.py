"""The output of this process."""

from __future__ import annotations

from rich.console import Console

from orchestrator.terminal import json_log
from orchestrator.terminal.json_output import JsonOutput
from orchestrator.terminal.output import Output, TextOutput

_current: Output = TextOutput(Console(stderr=True))


def current_output() -> Output:
    """The output of this process."""
    return _current


def use_json() -> None:
    """Write JSON lines from now on, whoever writes to standard error."""
    global _current
    if not isinstance(_current, JsonOutput):
        _current = JsonOutput(json_log.install())


def use_text() -> None:
    """Write text from now on."""
    global _current
    json_log.remove()
    if not isinstance(_current, TextOutput):
        _current = TextOutput(Console(stderr=True))
