"""A fault: something that happens to a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.drill.trial import Trial


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        what: What happens, in words.
        make: Runs the experiment in a trial, with the fault, to its end; gets the keys of the stages, and returns when
            the fault happened, in seconds since 1970.
        restarts: Whether workers have to start anew.
        times: How often it happens in one run.
    """

    what: str
    make: Callable[[Trial, Sequence[str]], float]
    restarts: bool = True
    times: int = 1
