"""What the commands share: their common options, exit statuses, and how they print a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from nmt.orchestrator.terminal import termination
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.terminal.termination import was_terminated

DONE, FAILED, WRONG_REQUEST, INTERRUPTED, TERMINATED = 0, 1, 2, 130, termination.STATUS
"""Exit statuses."""

File = Annotated[str, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to join; by default Ray is started on this machine.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's own log too.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again what the storage has.")]
Points = Annotated[int | None, typer.Option(help="Weights per task, instead of the file's.")]
Normalised = Annotated[bool, typer.Option("--normalised", help="Train weights of the same proportions once.")]
Limit = Annotated[
    int | None, typer.Option(help="Train N weightings, drawn with the seed; extrapolate the cost of the rest.")
]


def print_result(document: dict[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a result on standard output: as one JSON document, or for people."""
    if as_json:
        print(json.dumps(document, indent=1, allow_nan=False, default=str))
    else:
        show(Console())


@contextmanager
def interruptible(kept: str = "finished stages are kept, and the same command resumes from them") -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a line that says what is kept, and exit status 130 or 143."""
    try:
        yield
    except KeyboardInterrupt:
        what, status = ("terminated", TERMINATED) if was_terminated() else ("interrupted", INTERRUPTED)
        current_output().say(f"{what}; {kept}", "interrupted", "warning", exit_status=status)
        raise typer.Exit(status) from None
