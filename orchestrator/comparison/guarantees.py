"""How the chosen models stand to the protected tasks: for the terminal, for MLflow, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from nmt.orchestrator.comparison.results import ComparedModel, Comparison
from nmt.orchestrator.summary.limits import share_of_limit
from nmt.orchestrator.summary.wording import NOTHING, finite_or_none, format_difference
from nmt.trainers.records import Deviation

MOST_PROTECTED = 3
"""Protected tasks that are shown of each model: those closest to their limits or beyond; tables in MLflow have all."""

TITLE = "Protected tasks of the chosen models against NMT's optima, difference ± standard error"


@dataclass(frozen=True)
class GuaranteeLine:
    """How one chosen model stands to one protected task.

    Attributes:
        method: Name of the method.
        task: The protected task.
        metric: Name of the task's metric; empty where it was not compared.
        loss: Split → difference of the loss, as text, and whether it is within its limit.
        value: The same of the metric; a dash where it was not compared.
        status: ``held`` or ``broken`` on the validation split.
        mine: Whether the model is NMT's.
    """

    method: str
    task: str
    metric: str
    loss: dict[str, tuple[str, bool]]
    value: dict[str, tuple[str, bool]]
    status: str
    mine: bool


def guarantee_lines(comparison: Comparison) -> tuple[GuaranteeLine, ...]:
    """Return the lines of the chosen models, in the order of the rows and of the tasks' priorities."""
    return tuple(
        line
        for row in comparison.rows
        if row.chosen is not None
        for line in _lines_of(row.name, row.chosen, row.source == "sweep")
    )


def shared_metric(lines: Sequence[GuaranteeLine]) -> str:
    """Return the metric that all lines share, or ``metric``."""
    found = {line.metric for line in lines if line.metric}
    return found.pop() if len(found) == 1 else "metric"


def guarantees_table(comparison: Comparison) -> Table:
    """Return the table for the terminal."""
    lines = guarantee_lines(comparison)
    table = Table(box=None, show_edge=False, pad_edge=False, collapse_padding=True, header_style="dim")
    table.title, table.title_justify, table.title_style = TITLE, "left", "bold"
    table.add_column("method", overflow="fold", max_width=26)
    table.add_column("task", overflow="fold", max_width=16)
    for name in ("loss", shared_metric(lines)):
        table.add_column(f"{name}\nvalid, test", justify="right", no_wrap=True)
    table.add_column("guarantee\non valid", no_wrap=True)
    for line in lines:
        cells = [
            Text("\n").join(
                Text(text, "" if held else "bold red" if split == "valid" else "yellow")
                for split, (text, held) in part.items()
            )
            for part in (line.loss, line.value)
        ]
        table.add_row(
            line.method, line.task, *cells, Text(line.status, "green" if line.status == "held" else "bold red")
        )
    return table


def guarantees_markdown(comparison: Comparison, escape: Callable[[str], str]) -> str:
    """Return the table as Markdown; empty where nothing is protected.

    Args:
        comparison: The comparison.
        escape: Escapes a text for Markdown.
    """
    lines = guarantee_lines(comparison)
    if not lines:
        return ""
    metric = escape(shared_metric(lines))
    head = ["method", "task", "loss, valid", "loss, test", f"{metric}, valid", f"{metric}, test", "guarantee on valid"]
    rows = [head, ["---", "---", *["---:"] * 4, "---"]]
    for line in lines:
        texts = [text for part in (line.loss, line.value) for text, _ in part.values()]
        rows.append([escape(line.method), escape(line.task), *texts, line.status])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{escape(TITLE)}:\n\n{table}"


def guarantees_columns(comparison: Comparison) -> dict[str, list[Any]]:
    """Return every deviation of the chosen models for ``mlflow.log_table``: column → values, one per deviation."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "method",
            "task",
            "split",
            "quantity",
            "difference",
            "standard error",
            "allowed",
            "held",
            "decides",
        )
    }
    for row in comparison.rows:
        for verdict in row.chosen.verdicts if row.chosen is not None else ():
            for found in (verdict.loss, verdict.metric):
                if found is None:
                    continue
                values = (
                    row.name,
                    verdict.task,
                    verdict.split,
                    found.quantity,
                    finite_or_none(found.difference),
                    finite_or_none(found.standard_error),
                    finite_or_none(found.allowed),
                    found.held,
                    found == verdict.deciding,
                )
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    return columns


def _lines_of(method: str, model: ComparedModel, mine: bool) -> Iterator[GuaranteeLine]:
    valid = {verdict.task: verdict for verdict in model.verdicts if verdict.split == "valid"}
    shown = sorted(valid, key=lambda task: share_of_limit(valid[task]), reverse=True)[:MOST_PROTECTED]
    for task in valid:
        if task not in shown:
            continue
        own = {verdict.split: verdict for verdict in model.verdicts if verdict.task == task}
        metric = valid[task].metric
        yield GuaranteeLine(
            method=method,
            task=task,
            metric="" if metric is None else metric.quantity,
            loss={split: _text(verdict.loss) for split, verdict in own.items()},
            value={split: _text(verdict.metric) for split, verdict in own.items()},
            status="held" if valid[task].kept else "broken",
            mine=mine,
        )


def _text(deviation: Deviation | None) -> tuple[str, bool]:
    if deviation is None:
        return NOTHING, True
    return format_difference(deviation.difference, deviation.standard_error), deviation.held
