"""Results as text: Markdown for files and pipes, tables in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.experiments.benchmarks.harness.result import Result, Row, Table

HEAD = ("what", "against", "ratio", "quartiles", "of processor time", "ours", "theirs", "rounds", "aim", "met")


def show(result: Result) -> None:
    """Print a result on standard output."""
    if sys.stdout.isatty():
        _show_in_terminal(result)
    else:
        print(markdown(result), flush=True)


def markdown(result: Result) -> str:
    """Format a result as Markdown."""
    parts = [f"## {result.name}: {result.title}", ""]
    for table in _tables(result):
        parts += [f"{table.title}\n"] if table.title else []
        parts += [markdown_table(table.head, [[_cell(value) for value in line] for line in table.lines]), ""]
    conditions = _conditions(result)
    parts += [f"*{conditions}*", ""] if conditions else []
    parts += [f"* {note}" for note in result.notes]
    return "\n".join([*parts, ""] if result.notes else parts)


def _show_in_terminal(result: Result) -> None:
    console = Console()
    for table in _tables(result):
        rich_table = RichTable(title=table.title or f"{result.name}: {result.title}", title_justify="left")
        for column, name in enumerate(table.head):
            rich_table.add_column(name, justify="left" if column < 2 else "right")
        for line in table.lines:
            rich_table.add_row(*(_cell(value) for value in line))
        console.print(rich_table)
    for text in (_conditions(result), *result.notes):
        if text:
            console.print(text, markup=False, highlight=False, style="dim")


def _conditions(result: Result) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.conditions.items())


def _tables(result: Result) -> Sequence[Table]:
    rows = tuple(_line(row) for row in result.rows)
    return [*([Table("", HEAD, rows)] if rows else []), *result.tables]


def _line(row: Row) -> tuple[str | int | float, ...]:
    return (
        row.name,
        row.rival,
        f"{row.ratio:.3f}",
        f"{row.lower:.3f} to {row.upper:.3f}",
        "–" if row.processor_ratio is None else f"{row.processor_ratio:.3f}",
        _amount(row.ours, row.unit),
        _amount(row.theirs, row.unit),
        row.rounds,
        "–" if row.aim is None else f"≤ {row.aim:g}",
        {None: "–", True: "yes", False: "no"}[row.met],
    )


def _amount(value: float, unit: str) -> str:
    if unit == "s/step":
        return f"{1000 * value:.1f} ms"
    return f"{value:.4g} {unit}"


def _cell(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
