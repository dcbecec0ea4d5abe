"""Options of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Options of a benchmark.

    Attributes:
        folder: An empty folder for its files.
        rounds: Number of rounds, each of which measures all sides; ``None`` for the benchmark's own number.
        quick: Whether sizes are tiny: that shows that a benchmark works, and its figures mean nothing.
        data: ToxCast's Parquet file, for the benchmarks that can use it.
    """

    folder: Path
    rounds: int | None = None
    quick: bool = False
    data: str | None = None
