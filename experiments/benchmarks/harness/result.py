"""What a benchmark found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from experiments.benchmarks.harness.pairing import Paired, Timing


@dataclass(frozen=True)
class Row:
    """One comparison: ours against a rival, measured in the same rounds.

    Attributes:
        name: What was measured.
        rival: What it was measured against.
        ratio: Ours over the rival's, median of the rounds' paired ratios; below 1 we are faster.
        lower: First quartile of the paired ratios.
        upper: Third quartile.
        processor_ratio: The same median of processor time, which a busy machine disturbs less; ``None`` where it is not
            known.
        ours: Median of ours, in ``unit``.
        theirs: Median of the rival's, in ``unit``.
        unit: What both are counted in.
        rounds: Number of rounds.
        aim: Largest ratio that is aimed at; ``None`` for a comparison without an aim.
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
    """A table that is no comparison of two sides.

    Attributes:
        title: What it shows.
        head: Names of its columns.
        lines: Its lines, as long as ``head``.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str | int | float, ...], ...]


@dataclass(frozen=True)
class Result:
    """What one benchmark found.

    Attributes:
        name: Name of the benchmark.
        title: What it compares.
        rows: The comparisons.
        tables: What else was found.
        conditions: Sizes and settings, for whoever repeats it.
        notes: What a reader has to know.
    """

    name: str
    title: str
    rows: Sequence[Row] = ()
    tables: Sequence[Table] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        content = asdict(self)
        for row, raw in zip(self.rows, content["rows"], strict=True):
            raw["met"] = row.met
        return content
