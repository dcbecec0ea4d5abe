"""A model's losses and metrics as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.models.evaluate import TaskEvaluation
from nmt.orchestrator.summary.wording import NOTHING, format_difference


def evaluation_table(found: Sequence[TaskEvaluation]) -> Table:
    """Return a row per task; with another model also the differences to it, ± their standard errors."""
    compared = any(task.loss_difference is not None for task in found)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("task", "rows", "loss", *(["against"] if compared else []), "metric", "value"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    if compared:
        table.add_column("against", justify="right")
    for task in found:
        value = NOTHING if task.value is None else f"{task.value:.4f}"
        cells = [task.task, f"{task.rows:,}", f"{task.loss:.4f}"]
        cells += [format_difference(task.loss_difference, task.loss_error)] if compared else []
        cells += [task.metric or NOTHING, value]
        cells += [format_difference(task.metric_difference, task.metric_error)] if compared else []
        table.add_row(*(Text(cell) for cell in cells))
    return table
