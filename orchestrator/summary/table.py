"""A finished chain as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.summary.chain import chain_summary
from orchestrator.summary.wording import (
    NOTHING,
    decimals_for,
    format_multiplier,
    format_signed,
    format_values,
    is_share,
    nan_if_none,
)
from orchestrator.summary.worst_tasks import selection_note, worst_tasks
from trainers.records import StageRecord

_FIGURES: dict[str, Any] = {"justify": "right", "no_wrap": True}
_UNBOUNDED = 10_000


def chain_table(records: Sequence[StageRecord]) -> Table:
    """Return a table with a row per task, by priority: one line each from about 100 columns on, two below.

    Of more than :data:`~orchestrator.summary.worst_tasks.MOST_TASKS` tasks the worst are shown.

    Args:
        records: Records of a chain's stages, in order.

    Raises:
        ValueError: There is no record.
    """
    summary = chain_summary(records)
    tasks: Sequence[dict[str, Any]] = summary["tasks"]
    metrics = {task["metric"] for task in tasks if task["metric"]}
    only_shares = all(is_share(name) for name in metrics)
    metric = metrics.pop() if len(metrics) == 1 else None
    caption = Text("\n" + " ".join(filter(None, (selection_note(tasks), summary["sentence"]))))
    folded = _blank_table(Table(), caption)
    folded.add_column("task", overflow="fold")
    folded.add_column("stage", **_FIGURES)
    folded.add_column("loss alone → end\nchange ± SE", **_FIGURES)
    folded.add_column(f"{metric or 'metric'}\nstage 1 → end", **_FIGURES)
    folded.add_column("λ", **_FIGURES)
    folded.add_column("guarantee\non valid", no_wrap=True)
    table = _blank_table(_ChainTable(folded), caption)
    table.add_column("task", no_wrap=True)
    table.add_column("stage", **_FIGURES)
    table.add_column("loss\nalone → end", **_FIGURES)
    table.add_column("change of\nloss ± SE", **_FIGURES)
    table.add_column(f"{metric or 'metric'}\nstage 1 → end", **_FIGURES)
    table.add_column("points" if only_shares else "change", **_FIGURES)
    table.add_column("λ", **_FIGURES)
    table.add_column("guarantee\non valid", no_wrap=True)
    for task in worst_tasks(tasks):
        name, stage = Text(task["task"]), str(task["stage"])
        loss, change = format_values(task["optimum"]["test"], task["test_loss"]), _change(task)
        value, points = _metric(task, with_name=metric is None), _points(task, with_unit=not only_shares)
        multiplier = format_multiplier(task["multiplier"])
        table.add_row(name, stage, loss, change, value, points, multiplier, _guarantee(task, " "))
        losses, values = f"{loss}\n{change}", f"{value}\n{_points(task, with_unit=True)}"
        folded.add_row(name, stage, losses, values, multiplier, _guarantee(task, "\n"))
    return table


class _ChainTable(Table):
    """A table that folds its rows into two lines where one line would cut numbers off."""

    def __init__(self, folded: Table) -> None:
        super().__init__()
        self._folded = folded

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = super().__rich_measure__(console, options.update(max_width=_UNBOUNDED)).maximum
        if needed > options.max_width:
            yield from self._folded.__rich_console__(console, options)
        else:
            yield from super().__rich_console__(console, options)


_Some = TypeVar("_Some", bound=Table)


def _blank_table(table: _Some, caption: Text) -> _Some:
    table.title = "At the end of the chain, on the test split"
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style, table.header_style = "bold", "", "dim"
    table.caption = caption
    table.box = box.SIMPLE_HEAD
    table.show_edge = table.pad_edge = False
    table.collapse_padding = True
    return table


def _change(row: dict[str, Any]) -> str:
    difference = row["difference"]
    if difference is None:
        return NOTHING
    decimals = decimals_for(nan_if_none(difference["value"]), nan_if_none(difference["standard_error"]))
    standard_error = format_signed(difference["standard_error"], decimals).lstrip("+")
    return f"{format_signed(difference['value'], decimals)} ±{standard_error}"


def _metric(row: dict[str, Any], with_name: bool) -> str:
    if row["metric"] is None:
        return NOTHING
    values = format_values(row["test_metric"]["stage_1"], row["test_metric"]["end"])
    return f"{row['metric']} {values}" if with_name else values


def _points(row: dict[str, Any], *, with_unit: bool) -> str:
    points = row["test_metric"]["points"]
    if points is None:
        return format_signed(row["test_metric"]["change"])
    return f"{format_signed(points, 1)} pt" if with_unit else format_signed(points, 1)


def _guarantee(row: dict[str, Any], separator: str) -> Text:
    guarantee = row["guarantee"]
    status = guarantee["status"]
    style = {"held": "green", "broken": "bold red", "not protected": "dim"}[status]
    text = Text(status, style)
    return text if guarantee["text"] is None else text.append(f"{separator}{guarantee['text']}", "default")
