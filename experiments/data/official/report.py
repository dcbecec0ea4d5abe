"""What the official files contain, and their damaged lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nmt.experiments.data.official.block_job import BlockJob
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.text.lines import MAX_DAMAGES, Damage, Lines


@dataclass(frozen=True)
class DamagedLine:
    """A damaged line of a file.

    Attributes:
        path: Its file.
        line: Its line number in the file, from 1.
        reason: What is wrong with it.
    """

    path: str
    line: int
    reason: str


@dataclass
class Report:
    """What the files contain.

    Attributes:
        name: Name of the recipe.
        files: The files.
        lines: Number of lines, also of the tables of features, without headers.
        damaged: Number of damaged lines.
        first: The first damaged lines.
        left_out: Rows that the recipe leaves out.
        tokens: Column → number of distinct tokens in the training rows, in the vocabulary or not.
    """

    name: str
    files: list[str]
    lines: int = 0
    damaged: int = 0
    first: list[DamagedLine] = field(default_factory=list)
    left_out: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockReport:
    """What a block of lines contains.

    Attributes:
        lines: Number of lines.
        damaged: Number of damaged lines.
        damages: The first damaged lines.
        rows: Number of rows.
        left_out: Rows that the recipe leaves out.
    """

    lines: int
    damaged: int
    damages: list[Damage]
    rows: int
    left_out: int = 0

    @classmethod
    def of(cls, lines: Lines, rows: int, left_out: int = 0) -> BlockReport:
        """Report on parsed lines."""
        return cls(lines.total, lines.damaged, lines.damages, rows, left_out)


def add_blocks(
    recipe: Recipe, jobs: Sequence[BlockJob], results: Iterator[BlockReport], report: Report
) -> list[BlockReport]:
    """Add the reports of blocks to a report; stop as soon as the damage exceeds the limit whatever follows.

    Args:
        recipe: Has the limit.
        jobs: The blocks.
        results: Their reports, in the same order.
        report: The report to add to.

    Returns:
        The reports of the blocks.

    Raises:
        ValueError: Too many lines are damaged.
    """
    read: list[BlockReport] = []
    path, line = "", 0
    before, lost = report.lines, report.damaged
    # Upper bound of the lines to come: an undamaged line has a byte for each field at least, its delimiter or its end.
    most = sum(-(-(job.block.stop - job.block.start) // len(job.names)) for job in jobs)
    for job, one in zip(jobs, results, strict=True):
        if job.block.path != path:
            path, line = job.block.path, int(recipe.form.columns is None)
        report.first += [DamagedLine(path, line + damage.line, damage.reason) for damage in one.damages]
        del report.first[MAX_DAMAGES:]
        report.damaged += one.damaged
        report.lines += one.lines
        report.left_out += one.left_out
        line += one.lines
        read.append(one)
        lost += one.damaged
        if lost > recipe.max_damaged * (before + lost + most):
            break
    if report.damaged > recipe.max_damaged * report.lines:
        first = "".join(f"\n  {found.path}, line {found.line}: {found.reason}" for found in report.first)
        raise ValueError(
            f"{report.damaged:,} of {report.lines:,} lines are damaged, allowed are {recipe.max_damaged:.3%}. "
            f"The first:{first}\nGet the file again, or raise the option max_damaged"
        )
    return read
