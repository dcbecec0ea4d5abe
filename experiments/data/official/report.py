"""What the official files held, and what of it is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from experiments.data.official.job import Job
from experiments.data.official.lines import FEW, Lines
from experiments.data.official.recipe import Recipe


@dataclass(frozen=True)
class DamagedLine:
    """A line that gives no row.

    Attributes:
        path: Its file.
        line: Its number in the file, counted from 1.
        reason: What is wrong with it.
    """

    path: str
    line: int
    reason: str


@dataclass
class Report:
    """What the files held.

    Attributes:
        name: The recipe.
        files: The files.
        lines: Number of lines, those of tables of features too, without headers.
        damaged: Number of damaged lines.
        first: The first of them.
        left_out: Rows that the recipe leaves out.
        tokens: Column → number of different tokens in the training rows, kept or not.
    """

    name: str
    files: list[str]
    lines: int = 0
    damaged: int = 0
    first: list[DamagedLine] = field(default_factory=list)
    left_out: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockRead:
    """What came of a block of lines.

    Attributes:
        lines: Number of lines.
        damaged: Number of damaged lines.
        damages: Number in the block, and what is wrong, of the first of them.
        rows: Number of rows.
        left_out: Rows that the recipe leaves out.
    """

    lines: int
    damaged: int
    damages: list[tuple[int, str]]
    rows: int
    left_out: int = 0

    @classmethod
    def of(cls, lines: Lines, rows: int, left_out: int = 0) -> BlockRead:
        """What came of these lines."""
        damages = [(damage.line, damage.reason) for damage in lines.damages]
        return cls(lines.total, lines.damaged, damages, rows, left_out)


def take_in(recipe: Recipe, jobs: Sequence[Job], results: Iterator[BlockRead], report: Report) -> list[BlockRead]:
    """Take in what came of blocks, and refuse too much damage as soon as nothing that follows can redeem it.

    Args:
        recipe: How much damage is allowed.
        jobs: The blocks.
        results: What came of each, in their order.
        report: What it is added to.

    Returns:
        The results.

    Raises:
        ValueError: Too many lines are damaged.
    """
    read: list[BlockRead] = []
    path, line = "", 0
    before, lost = report.lines, report.damaged
    # A whole line has a byte for each field at least: its end or a delimiter.
    most = sum(-(-(job.block.stop - job.block.start) // len(job.names)) for job in jobs)
    for job, one in zip(jobs, results, strict=True):
        if job.block.path != path:
            path, line = job.block.path, int(recipe.form.columns is None)
        report.first += [DamagedLine(path, line + at, reason) for at, reason in one.damages]
        del report.first[FEW:]
        report.damaged += one.damaged
        report.lines += one.lines
        report.left_out += one.left_out
        line += one.lines
        read.append(one)
        lost += one.damaged
        if lost > recipe.max_damaged * (before + lost + most):
            break
    if report.damaged > recipe.max_damaged * report.lines:
        told = "".join(f"\n  {found.path}, line {found.line}: {found.reason}" for found in report.first)
        raise ValueError(
            f"{report.damaged:,} of {report.lines:,} lines are damaged, allowed are {recipe.max_damaged:.3%}. "
            f"The first:{told}\nGet the file again, or raise the option max_damaged"
        )
    return read
