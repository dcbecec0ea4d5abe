"""A finished chain as tables for a terminal: what each task gained, and how the protected ones stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.summary.wording import (
    NOTHING,
    format_difference,
    format_multiplier,
    format_signed,
    format_values,
    is_share,
)
from nmt.orchestrator.summary.worst_tasks import selection_note, worst_tasks
from nmt.trainers.records import StageRecord

_FIGURES: dict[str, Any] = {"justify": "right", "no_wrap": True}
_UNBOUNDED = 10_000


def chain_table(records: Sequence[StageRecord]) -> Group:
    """Return a table with a row per task, by priority, and one with a row per protected task.

    One line a row from about 100 columns on, two below. Of more than
    :data:`~nmt.orchestrator.summary.worst_tasks.MOST_TASKS` tasks the worst are shown.

    Args:
        records: Records of a chain's stages, in order.

    Raises:
        ValueError: There is no record.
    """
    summary = chain_summary(records)
    tasks: Sequence[dict[str, Any]] = summary["tasks"]
    shown = worst_tasks(tasks)
    parts: list[RenderableType] = [_tasks_table(shown, records[0].number)]
    protected = [task for task in shown if task["deviation"] is not None]
    if protected:
        parts += ["", _protected_table(protected, any(record.live for record in records[-1:]))]
    return Group(*parts, "", Text(" ".join(filter(None, (selection_note(tasks), summary["sentence"])))))


def _tasks_table(tasks: Sequence[dict[str, Any]], first: int) -> Table:
    """A row per task: losses and metrics on the test split at the end of the chain."""
    metric = _common_metric(tasks)
    only_shares = all(is_share(task["metric"]) for task in tasks if task["metric"])
    table = _blank_table(Table(), "At the end of the chain, on the test split")
    table.add_column("task", overflow="fold")
    table.add_column("stage", **_FIGURES)
    table.add_column("accepted\nstep of", **_FIGURES)
    table.add_column("loss\nconstant → end", **_FIGURES)
    before = "own stage" if first else "stage 0"
    table.add_column(f"{metric or 'metric'}\n{before} → end", **_FIGURES)
    table.add_column("points" if only_shares else "change", **_FIGURES)
    table.add_column("λ", **_FIGURES)
    for task in tasks:
        table.add_row(
            Text(task["task"]),
            str(task["stage"]),
            f"{task['accepted_step']:,} of {task['steps']:,}",
            format_values(task["constant"]["test"], task["test_loss"]),
            _metric(task, with_name=metric is None),
            _points(task, with_unit=not only_shares),
            format_multiplier(task["multiplier"]),
        )
    return table


def _protected_table(tasks: Sequence[dict[str, Any]], with_live: bool) -> Table:
    """A row per protected task: how far it is from its limit, in loss and metric, on both held-out splits."""
    metric = _common_metric(tasks)
    limits = "their own optima or the live model, whichever is better" if with_live else "their own optima"
    title = f"Protected tasks against {limits}, difference ± standard error"
    folded = _blank_table(Table(), title)
    folded.add_column("task", overflow="fold")
    for name in ("loss", metric or "metric"):
        folded.add_column(f"{name}\nvalid, test", **_FIGURES)
    folded.add_column("guarantee\non valid", no_wrap=True)
    table = _blank_table(_FoldingTable(folded), title)
    table.add_column("task", no_wrap=True)
    for name in ("loss", metric or "metric"):
        for split in ("valid", "test"):
            table.add_column(f"{name}\n{split}", **_FIGURES)
    table.add_column("guarantee\non valid", no_wrap=True)
    for task in tasks:
        cells = [
            _deviation(task["deviation"], quantity, split)
            for quantity in ("loss", "metric")
            for split in ("valid", "test")
        ]
        table.add_row(Text(task["task"]), *cells, _guarantee(task, " "))
        both = [Text("\n").join(cells[place : place + 2]) for place in (0, 2)]
        folded.add_row(Text(task["task"]), *both, _guarantee(task, "\n"))
    return table


def _common_metric(tasks: Sequence[dict[str, Any]]) -> str | None:
    metrics = {task["metric"] for task in tasks if task["metric"]}
    return metrics.pop() if len(metrics) == 1 else None


class _FoldingTable(Table):
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


def _blank_table(table: _Some, title: str) -> _Some:
    table.title = title
    table.title_justify = "left"
    table.title_style, table.header_style = "bold", "dim"
    table.box = box.SIMPLE_HEAD
    table.show_edge = table.pad_edge = False
    table.collapse_padding = True
    return table


def _deviation(deviations: dict[str, Any], quantity: str, split: str) -> Text:
    found = (deviations[quantity] or {}).get(split)
    if found is None:
        return Text(NOTHING)
    text = format_difference(found["difference"], found["standard_error"])
    return Text(text, "" if found["held"] else "bold red" if split == "valid" else "yellow")


def _metric(row: dict[str, Any], with_name: bool) -> str:
    if row["metric"] is None:
        return NOTHING
    values = format_values(row["test_metric"]["start"], row["test_metric"]["end"])
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
    text = Text(f"{status}, live" if guarantee["against"] == "live" else status, style)
    return text if guarantee["text"] is None else text.append(f"{separator}{guarantee['text']}", "default")
