"""The table of a comparison, one line per method: for the terminal, for MLflow and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.comparison.guarantees import guarantee_lines, guarantees_markdown, guarantees_table
from nmt.orchestrator.comparison.headline import headline, is_single_task, samples_seen
from nmt.orchestrator.comparison.numerals import (
    amount_text,
    extrapolation_text,
    metric_texts,
    reused_text,
    samples_text,
    seconds_text,
    stages_text,
    trials_text,
)
from nmt.orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison, MethodRow
from nmt.orchestrator.summary.wording import NOTHING, nan_if_none
from nmt.orchestrator.trials.cost import Cost

MOST_COLUMNS = 8
"""Most tasks that have a column; the first by priority where there are more."""

_FEWEST = 3
"""Tasks that have to fit beside the costs; otherwise the metrics have a table of their own."""

_UNBOUNDED = 10_000
_NAME_LENGTH = 16
_FIGURES: dict[str, Any] = {"justify": "right", "no_wrap": True}
_STYLES = {"held": "green", "broken": "bold red"}


@dataclass(frozen=True)
class Line:
    """A line of the table, as text.

    Attributes:
        row: The row that the line shows; for several single-task models, their sum.
        test: Task → test metric of the chosen model; for single-task models, the metric of each one's own task.
        metrics: Test metrics in the order of the tasks.
        best: For each metric, whether it is the best of its column as printed.
        guarantee: ``held``, ``broken: amount``, ``unknown``, or a dash.
    """

    row: MethodRow
    test: dict[str, float]
    metrics: tuple[str, ...]
    best: tuple[bool, ...]
    guarantee: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the samples: whether they are extrapolated, how many are reused."""
        return tuple(note for note in (extrapolation_text(self.row), reused_text(self.row)) if note)


def lines(comparison: Comparison) -> tuple[Line, ...]:
    """Return the table's lines in the order of the rows; several single-task models share one."""
    rows = _merge_single_task(comparison)
    tests = [test for _, test in rows]
    written: list[list[str]] = []
    best: list[list[bool]] = []
    for task in comparison.tasks:
        values = [nan_if_none(test.get(task.name)) for test in tests]
        texts = metric_texts(values)
        known = [(value if task.higher_is_better else -value, text) for value, text in zip(values, texts, strict=True)]
        top = max((pair for pair in known if pair[1] != NOTHING), default=(0.0, ""))[1]
        written.append(texts)
        best.append([text == top for text in texts])
    return tuple(
        Line(
            row,
            test,
            tuple(column[index] for column in written),
            tuple(column[index] for column in best),
            guarantee_text(row.chosen, comparison),
        )
        for index, (row, test) in enumerate(rows)
    )


def guarantee_text(model: ComparedModel | None, comparison: Comparison) -> str:
    """Format ``held``, ``broken: amount`` or ``unknown``; a dash where there is no model or nothing to protect."""
    one_level = len({task.level for task in comparison.tasks}) == 1
    if model is None or one_level or is_single_task(model, comparison):
        return NOTHING
    return f"broken: {model.worst_task}" if model.guarantee == "broken" and model.worst_task else model.guarantee


def omission_text(tasks: Sequence[ComparedTask], shown: int) -> str:
    """Return the note that only the first tasks have a column; empty where all have one."""
    return (
        ""
        if shown >= len(tasks)
        else f"The first {shown} of {len(tasks)} tasks, by priority; {len(tasks) - shown} more."
    )


def common_metric(tasks: Sequence[ComparedTask]) -> str | None:
    """Return the header that all tasks share, such as ``pair_accuracy ↑``; ``None`` where they differ."""
    headers = {task_header(task) for task in tasks}
    return headers.pop() if len(headers) == 1 else None


def task_header(task: ComparedTask) -> str:
    """Format a task's metric with the direction in which it improves: ``pair_accuracy ↑``."""
    return f"{task.metric} {'↑' if task.higher_is_better else '↓'}"


def comparison_table(comparison: Comparison) -> ComparisonTable:
    """Return the table for the terminal, with the headline below.

    Costs and metrics share one table where at least three tasks fit, and otherwise have one each. If not all tasks fit,
    the first by priority are shown with the number of the others.
    """
    return ComparisonTable(comparison)


class ComparisonTable:
    """A Rich renderable as wide as the terminal; see :func:`comparison_table`."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._lines = lines(comparison)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tasks = self._comparison.tasks
        most = min(len(tasks), MOST_COLUMNS)
        beside_costs = self._count_fitting(console, options, costs=True)
        if beside_costs >= min(len(tasks), _FEWEST):
            shown = beside_costs
            yield self._table(shown, costs=True)
        else:
            shown = max(min(most, 1), self._count_fitting(console, options, costs=False))
            yield self._table(0, costs=True)
            yield Text()
            yield self._table(shown, costs=False)
        yield Text()
        omission = omission_text(tasks, shown)
        if omission:
            yield Text(omission, "dim")
        if guarantee_lines(self._comparison):
            yield guarantees_table(self._comparison)
            yield Text()
        yield Text(" ".join(filter(None, (headline(self._comparison).text, samples_seen(self._comparison)))))

    def _count_fitting(self, console: Console, options: ConsoleOptions, *, costs: bool) -> int:
        """Return the largest number of tasks whose columns fit; 0 if none does."""
        for shown in range(min(len(self._comparison.tasks), MOST_COLUMNS), 0, -1):
            table = self._table(shown, costs=costs)
            if console.measure(table, options=options.update(max_width=_UNBOUNDED)).maximum <= options.max_width:
                return shown
        return 0

    def _table(self, shown: int, *, costs: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="dim")
        table.title_justify, table.title_style = "left", "bold"
        metrics = shown > 0 or not costs
        tasks = self._comparison.tasks[:shown] if metrics else ()
        common = common_metric(self._comparison.tasks)
        measured = f"est {common or 'metrics'} of the chosen models"
        table.title = f"Cost, and t{measured}" if metrics and costs else f"T{measured}" if metrics else "Cost"
        table.add_column("method", overflow="fold", max_width=26)
        if costs:
            for name in ("trials", "stages", "samples", "worker-\nseconds"):
                table.add_column(name, **_FIGURES)
        for task in tasks:
            name = truncate(task.name, _NAME_LENGTH)
            table.add_column(
                Text(name if common else f"{name}\n{truncate(task_header(task), _NAME_LENGTH)}"), **_FIGURES
            )
        if metrics:
            table.add_column("guarantee\non valid", overflow="fold", max_width=18)
        for line in self._lines:
            cells: list[Text] = [Text(line.row.name)]
            if costs:
                cells += [Text(_fold(text)) for text in (trials_text(line.row), stages_text(line.row))]
                cells.append(Text("\n".join([amount_text(line.row), *(_fold_note(note) for note in line.notes)])))
                cells.append(Text(_fold(seconds_text(line.row))))
            for text, best in list(zip(line.metrics, line.best, strict=True))[: len(tasks)]:
                cells.append(Text(text, "bold" if best else ""))
            if metrics:
                cells.append(
                    Text(
                        line.guarantee.replace(": ", ":\n", 1) if costs else line.guarantee,
                        _STYLES.get(line.guarantee.partition(":")[0], "dim"),
                    )
                )
            table.add_row(*cells)
        return table


def comparison_columns(comparison: Comparison) -> dict[str, list[Any]]:
    """Return the table for ``mlflow.log_table``: column → values, one per line, with a column for every task.

    ``samples`` is text, so that an extrapolated number is labelled; the other costs were counted.
    """
    found = lines(comparison)
    columns: dict[str, list[Any]] = {
        "method": [line.row.name for line in found],
        "source": [line.row.source for line in found],
        "trials": [trials_text(line.row) for line in found],
        "stages trained": [line.row.cost.stages for line in found],
        "stages reused": [line.row.cost.stages_reused for line in found],
        "samples": [samples_text(line.row) for line in found],
        "samples trained": [line.row.cost.samples for line in found],
        "samples reused": [line.row.cost.samples_reused for line in found],
        "worker-seconds of the trained": [round(line.row.cost.worker_seconds, 1) for line in found],
    }
    for index, task in enumerate(comparison.tasks):
        values = [None if line.metrics[index] == NOTHING else float(line.test[task.name]) for line in found]
        columns[f"test {task.metric} {task.name}"] = values
    columns["guarantee"] = [line.guarantee for line in found]
    return columns


def comparison_markdown(comparison: Comparison) -> str:
    """Return the headline and the table as Markdown, the best metric of a column in bold."""
    shown = comparison.tasks[:MOST_COLUMNS]
    head = ["method", "trials", "stages", "samples", "worker-seconds"]
    head += [f"{escape_markdown(task.name)}, test {escape_markdown(task_header(task))}" for task in shown]
    head.append("guarantee on valid")
    rows = [head, ["---", *["---:"] * (len(head) - 2), "---"]]
    for line in lines(comparison):
        samples = "; ".join([samples_text(line.row), *([reused_text(line.row)] if reused_text(line.row) else [])])
        metrics = [f"**{text}**" if best else text for text, best in zip(line.metrics, line.best, strict=True)]
        costs = [trials_text(line.row), stages_text(line.row), samples, seconds_text(line.row)]
        rows.append([escape_markdown(line.row.name), *costs, *metrics[: len(shown)], escape_markdown(line.guarantee)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    omission = omission_text(comparison.tasks, len(shown))
    guarantees = guarantees_markdown(comparison, escape_markdown)
    lead = filter(None, (headline(comparison).text, samples_seen(comparison)))
    parts = (escape_markdown(" ".join(lead)), table, omission, guarantees)
    return "\n\n".join(part for part in parts if part) + "\n"


def escape_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    plain = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _merge_single_task(comparison: Comparison) -> list[tuple[MethodRow, dict[str, float]]]:
    """Return the rows with the metrics to show; several single-task models become one row."""
    alone = [row for row in comparison.rows if row.chosen is not None and is_single_task(row.chosen, comparison)]
    found: list[tuple[MethodRow, dict[str, float]]] = []
    for row in comparison.rows:
        if len(alone) > 1 and row in alone:
            if row is alone[0]:
                found.append(_sum_rows(alone))
            continue
        found.append((row, dict(row.chosen.test) if row.chosen is not None else {}))
    return found


def _sum_rows(rows: Sequence[MethodRow]) -> tuple[MethodRow, dict[str, float]]:
    row = MethodRow(
        name=f"{len(rows)} single-task models",
        source="baseline",
        cost=sum((row.cost for row in rows), Cost()),
        chosen=None,
        planned_trials=sum(row.planned_trials for row in rows),
        planned_samples=sum(row.planned_samples for row in rows),
    )
    return row, {task: value for row in rows if row.chosen is not None for task, value in row.chosen.test.items()}


def truncate(text: str, length: int) -> str:
    """Return the text, cut to ``length`` characters with an ellipsis where it is longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _fold(text: str) -> str:
    """Break ``240 (20 trials)`` or ``21 + 6 reused`` into two lines."""
    return text.replace(" (", "\n(").replace(" + ", "\n+ ").replace(" of ", "\nof ") if len(text) > 9 else text


def _fold_note(text: str) -> str:
    return text.replace("extrapolated from ", "extrapolated\nfrom ").replace(" of them ", "\nof them ")
