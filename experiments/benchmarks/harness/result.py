"""Results of a benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nmt.experiments.benchmarks.harness.pairing import Paired, Timing


@dataclass(frozen=True)
class Row:
    """One comparison: ours against a rival, measured in the same rounds.

    Attributes:
        name: What was measured.
        rival: What it was measured against.
        ratio: Our time over the rival's, median over the rounds; below 1, ours is faster.
        lower: First quartile of the paired ratios.
        upper: Third quartile.
        processor_ratio: The same ratio of processor time, which a busy machine disturbs less; ``None`` if unknown.
        ours: Median of our time, in ``unit``.
        theirs: Median of the rival's time, in ``unit``.
        unit: Unit of both.
        rounds: Number of rounds.
        aim: Largest ratio that meets the aim; ``None`` without an aim.
    """

    name: str
    rival: str
    ratio: float
    lower: float
    upper: float
    processor_ratio: float | None
    ours: float
    theirs: float
    unit: str
    rounds: int
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; ``None`` without one."""
        return None if self.aim is None else self.ratio <= self.aim

    @classmethod
    def of(
        cls, name: str, rival: str, ours: Timing, theirs: Timing, aim: float | None = None, unit: str = "s/step"
    ) -> Row:
        """Compare times of the same rounds."""
        wall = Paired.of(ours.seconds, theirs.seconds)
        processor = Paired.of(ours.processor, theirs.processor).median if ours.processor and theirs.processor else None
        return cls(
            name=name,
            rival=rival,
            ratio=wall.median,
            lower=wall.lower,
            upper=wall.upper,
            processor_ratio=processor,
            ours=statistics.median(ours.seconds),
            theirs=statistics.median(theirs.seconds),
            unit=unit,
            rounds=len(ours.seconds),
            aim=aim,
        )


@dataclass(frozen=True)
class Table:
    """A table other than a comparison of two sides.

    Attributes:
        title: Title.
        head: Names of the columns.
        lines: Rows, each as long as ``head``.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str | int | float, ...], ...]


@dataclass(frozen=True)
class Result:
    """The results of one benchmark.

    Attributes:
        name: Name of the benchmark.
        title: What it compares.
        rows: The comparisons.
        tables: Other results.
        conditions: Sizes and settings, needed to repeat it.
        notes: What a reader has to know.
    """

    name: str
    title: str
    rows: Sequence[Row] = ()
    tables: Sequence[Table] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain JSON values."""
        content = asdict(self)
        for row, raw in zip(self.rows, content["rows"], strict=True):
            raw["met"] = row.met
        return content
