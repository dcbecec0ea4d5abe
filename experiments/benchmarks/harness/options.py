"""How a benchmark is to be run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How a benchmark is to be run.

    Attributes:
        folder: An empty folder for what it writes.
        rounds: Rounds, each of which measures both sides; the benchmark's own number when ``None``.
        quick: Whether sizes are tiny: it then shows that a benchmark works, and its figures mean nothing.
        data: ToxCast's Parquet file, for the benchmarks that can use it.
    """

    folder: Path
    rounds: int | None = None
    quick: bool = False
    data: str | None = None
