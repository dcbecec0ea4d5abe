"""A fault: a disturbance of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.drill.trial import Trial


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        what: Description.
        make: Function (trial, keys of the stages) that runs the experiment with the fault to its end, and returns the
            time of the fault in seconds since 1970.
        restarts: Whether workers have to restart.
        times: How often the fault occurs in one run.
    """

    what: str
    make: Callable[[Trial, Sequence[str]], float]
    restarts: bool = True
    times: int = 1
