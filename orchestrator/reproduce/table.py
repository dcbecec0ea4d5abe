"""A study's table: means and standard errors over seeds, paired differences, and the paper's numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.comparison.numerals import plural_text
from nmt.orchestrator.summary.wording import NOTHING

AVERAGE = "average"
HELD = "guarantee held"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        error: Standard error of the mean; NaN with one seed.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate from one value per seed."""
        if not values:
            return cls(math.nan, math.nan)
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.mean(values), error)

    def text(self, signed: bool = False) -> str:
        """Format ``0.8165 ± 0.0021``, with the sign of the mean if ``signed``."""
        if not math.isfinite(self.mean):
            return NOTHING
        mean = f"{self.mean:+.4f}" if signed else f"{self.mean:.4f}"
        return f"{mean} ± {self.error:.4f}" if math.isfinite(self.error) else mean


@dataclass(frozen=True)
class Line:
    """One line of a table: a row of the study in one of its arms.

    Attributes:
        row: Name of the row.
        arm: Name of the arm.
        values: Task → test metric over seeds.
        differences: Task → difference to the reference arm, paired by seed; empty for the reference itself.
        printed: Task → the paper's number.
        held: Number of seeds in which every protected task kept its limit; ``None`` for an arm without priorities.
        seeds: Number of seeds trained.
    """

    row: str
    arm: str
    values: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    printed: Mapping[str, str]
    held: int | None
    seeds: int


@dataclass(frozen=True)
class StudyTable:
    """The table of a study.

    Attributes:
        title: Title, with data and preset.
        tasks: Tasks, one column each.
        metric: Name of the metric shown.
        reference: Arm with which the others are compared.
        lines: Lines of the table.
        agreement: The paper's finding, in a sentence.
    """

    title: str
    tasks: tuple[str, ...]
    metric: str
    reference: str
    lines: tuple[Line, ...]
    agreement: str

    def columns(self) -> dict[str, list[str]]:
        """Return header → cells, as text."""
        found: dict[str, list[str]] = {"": [_name(line) for line in self.lines]}
        for task in self.tasks:
            found[task] = [line.values[task].text() for line in self.lines]
        for task in self.tasks:
            head = f"{task} against {self.reference}"
            found[head] = [
                line.differences[task].text(signed=True) if task in line.differences else NOTHING for line in self.lines
            ]
        if any(line.printed for line in self.lines):
            for task in self.tasks:
                found[f"paper: {task}"] = [line.printed.get(task, NOTHING) for line in self.lines]
        found[HELD] = [NOTHING if line.held is None else f"{line.held} of {line.seeds}" for line in self.lines]
        return found

    def markdown(self) -> str:
        """Return the table as Markdown."""
        columns = self.columns()
        lines = [f"## {self.title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(row)} |" for row in zip(*columns.values(), strict=True)]
        return "\n".join([*lines, "", self._note(), ""])

    def terminal(self) -> RenderableType:
        """Return the table for a terminal: metrics, then differences, then the paper's numbers."""
        columns = self.columns()
        names = columns.pop("")
        reached = {head: cells for head, cells in columns.items() if head in (*self.tasks, HELD)}
        against, printed = f" against {self.reference}", "paper: "
        differences = {h.removesuffix(against): cells for h, cells in columns.items() if h.endswith(against)}
        own = {h.removeprefix(printed): cells for h, cells in columns.items() if h.startswith(printed)}
        parts: list[RenderableType] = [_table(self.title, names, reached), Text()]
        parts += [_table(f"against {self.reference}, paired by seed", names, differences), Text()]
        parts += [_table("the paper's numbers", names, own), Text()] if own else []
        return Group(*parts, Text(self._note()), Text())

    def _note(self) -> str:
        seeds = max((line.seeds for line in self.lines), default=0)
        spread = "mean ± standard error" if seeds > 1 else "one seed, so no standard error"
        return (
            f"Test {self.metric} over {plural_text(seeds, 'seed')}, {spread}; differences are paired by seed. "
            f"The paper: {self.agreement}"
        )


def _table(title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False
    table.add_column("")
    for head in columns:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for name, *cells in zip(names, *columns.values(), strict=True):
        table.add_row(Text(name), *map(Text, cells))
    return table


def _name(line: Line) -> str:
    return f"{line.row}, {line.arm}" if line.row else line.arm
