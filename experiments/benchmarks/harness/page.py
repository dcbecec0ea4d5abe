"""Results as text: Markdown for files and pipes, tables in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from experiments.benchmarks.harness.result import Result, Row, Table

HEAD = ("what", "against", "ratio", "quartiles", "of processor time", "ours", "theirs", "rounds", "aim", "met")


def show(result: Result) -> None:
    """Print a result on standard output."""
    if sys.stdout.isatty():
        _show_in_terminal(result)
    else:
        print(markdown(result), flush=True)


def markdown(result: Result) -> str:
    """A result as Markdown."""
    parts = [f"## {result.name}: {result.title}", ""]
    for table in _tables(result):
        parts += [f"{table.title}\n"] if table.title else []
        parts += ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
        parts += ["| " + " | ".join(_cell(value) for value in line) + " |" for line in table.lines]
        parts.append("")
    conditions = ", ".join(f"{name} {value}" for name, value in result.conditions.items())
    parts += [f"*{conditions}*", ""] if conditions else []
    parts += [f"* {note}" for note in result.notes]
    return "\n".join([*parts, ""] if result.notes else parts)


def _show_in_terminal(result: Result) -> None:
    console = Console()
    for table in _tables(result):
        shown = RichTable(title=table.title or f"{result.name}: {result.title}", title_justify="left")
        for place, name in enumerate(table.head):
            shown.add_column(name, justify="left" if place < 2 else "right")
        for line in table.lines:
            shown.add_row(*(_cell(value) for value in line))
        console.print(shown)
    conditions = ", ".join(f"{name} {value}" for name, value in result.conditions.items())
    for text in (conditions, *result.notes):
        if text:
            console.print(text, markup=False, highlight=False, style="dim")


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
