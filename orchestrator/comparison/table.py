"""The table of a comparison: a line per method, for the terminal, for MLflow and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.comparison.headline import headline, is_alone
from orchestrator.comparison.numerals import (
    amount_text,
    extrapolation_text,
    metric_texts,
    reused_text,
    samples_text,
    seconds_text,
    stages_text,
    trials_text,
)
from orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison, MethodRow
from orchestrator.summary.wording import NOTHING, nan_if_none
from orchestrator.trials.cost import Cost

MOST_COLUMNS = 8
"""Tasks with a column each; the first by priority, where there are more."""

_FEWEST = 3
"""Tasks that have to fit beside the costs; otherwise the metrics get a table of their own."""

_UNBOUNDED = 10_000
_FIGURES: dict[str, Any] = {"justify": "right", "no_wrap": True}
_STYLES = {"held": "green", "broken": "bold red"}


@dataclass(frozen=True)
class Line:
    """A line of the table, in words.

    Attributes:
        row: What the line shows; of several single-task models, their sum.
        test: Task → test metric of the chosen model; of single-task models, each one's own.
        metrics: Test metrics in the order of the tasks.
        best: Whether that metric, as it is written, is the best of its column.
        guarantee: ``held``, ``broken: amount``, ``unknown``, or a dash.
    """

    row: MethodRow
    test: dict[str, float]
    metrics: tuple[str, ...]
    best: tuple[bool, ...]
    guarantee: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of the samples: that they are extrapolated, that some are reused."""
        return tuple(note for note in (extrapolation_text(self.row), reused_text(self.row)) if note)


def lines(comparison: Comparison) -> tuple[Line, ...]:
    """The table's lines, in the order of the rows; several single-task models share one."""
    merged = _merged(comparison)
    tests = [test for _, test in merged]
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
        for index, (row, test) in enumerate(merged)
    )


def guarantee_text(model: ComparedModel | None, comparison: Comparison) -> str:
    """``held``, ``broken: amount``, ``unknown``; a dash where there is no model or nothing it could protect."""
    one_level = len({task.level for task in comparison.tasks}) == 1
    if model is None or one_level or is_alone(model, comparison):
        return NOTHING
    return f"broken: {model.worst_task}" if model.guarantee == "broken" and model.worst_task else model.guarantee


def shown_tasks(tasks: Sequence[ComparedTask], shown: int) -> str:
    """What to say where only the first tasks have a column; nothing where all have."""
    return (
        ""
        if shown >= len(tasks)
        else f"The first {shown} of {len(tasks)} tasks, by priority; {len(tasks) - shown} more."
    )


def common_metric(tasks: Sequence[ComparedTask]) -> str | None:
    """``pair_accuracy ↑`` where all tasks share it: said once, above the table."""
    headers = {task_header(task) for task in tasks}
    return headers.pop() if len(headers) == 1 else None


def task_header(task: ComparedTask) -> str:
    """``pair_accuracy ↑``: a task's metric and the direction in which it gets better."""
    return f"{task.metric} {'↑' if task.higher_is_better else '↓'}"


def comparison_table(comparison: Comparison) -> ComparisonTable:
    """The table for the terminal, with the headline below.

    Costs and metrics stand side by side where at least three tasks fit, and otherwise in two tables, one above the
    other. Of more tasks than fit, the first by priority are shown, and it says how many more there are.
    """
    return ComparisonTable(comparison)


class ComparisonTable:
    """What :func:`comparison_table` gives: prints itself as wide as the terminal is."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._lines = lines(comparison)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tasks = self._comparison.tasks
        most = min(len(tasks), MOST_COLUMNS)
        together = self._fitting(console, options, costs=True)
        if together >= min(len(tasks), _FEWEST):
            shown = together
            yield self._table(shown, costs=True)
        else:
            shown = max(min(most, 1), self._fitting(console, options, costs=False))
            yield self._table(0, costs=True)
            yield Text()
            yield self._table(shown, costs=False)
        yield Text()
        left_out = shown_tasks(tasks, shown)
        if left_out:
            yield Text(left_out, "dim")
        yield Text(headline(self._comparison).text)

    def _fitting(self, console: Console, options: ConsoleOptions, *, costs: bool) -> int:
        """The largest number of tasks whose columns fit; 0 if none does."""
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
            name = _short(task.name)
            table.add_column(Text(name if common else f"{name}\n{_short(task_header(task))}"), **_FIGURES)
        if metrics:
            table.add_column("guarantee\non valid", overflow="fold", max_width=18)
        for line in self._lines:
            cells: list[Text] = [Text(line.row.name)]
            if costs:
                cells += [Text(_folded(text)) for text in (trials_text(line.row), stages_text(line.row))]
                cells.append(Text("\n".join([amount_text(line.row), *(_note(note) for note in line.notes)])))
                cells.append(Text(_folded(seconds_text(line.row))))
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
    """The table for ``mlflow.log_table``: column → values, one per line, every task with a column.

    ``samples`` is text, so that what is extrapolated carries its label; the other costs were counted.
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
    """The headline and the table as Markdown; the best metric of a column is bold."""
    shown = comparison.tasks[:MOST_COLUMNS]
    head = ["method", "trials", "stages", "samples", "worker-seconds"]
    head += [f"{escaped(task.name)}, test {escaped(task_header(task))}" for task in shown]
    head.append("guarantee on valid")
    rows = [head, ["---", *["---:"] * (len(head) - 2), "---"]]
    for line in lines(comparison):
        samples = "; ".join([samples_text(line.row), *([reused_text(line.row)] if reused_text(line.row) else [])])
        metrics = [f"**{text}**" if best else text for text, best in zip(line.metrics, line.best, strict=True)]
        costs = [trials_text(line.row), stages_text(line.row), samples, seconds_text(line.row)]
        rows.append([escaped(line.row.name), *costs, *metrics[: len(shown)], escaped(line.guarantee)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    left_out = shown_tasks(comparison.tasks, len(shown))
    return "\n\n".join(part for part in (escaped(headline(comparison).text), table, left_out) if part) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    plain = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _merged(comparison: Comparison) -> list[tuple[MethodRow, dict[str, float]]]:
    """Rows with the metrics to show; single-task models, if several, in the place of the first."""
    alone = [row for row in comparison.rows if row.chosen is not None and is_alone(row.chosen, comparison)]
    found: list[tuple[MethodRow, dict[str, float]]] = []
    for row in comparison.rows:
        if len(alone) > 1 and row in alone:
            if row is alone[0]:
                found.append(_together(alone))
            continue
        found.append((row, dict(row.chosen.test) if row.chosen is not None else {}))
    return found


def _together(rows: Sequence[MethodRow]) -> tuple[MethodRow, dict[str, float]]:
    row = MethodRow(
        name=f"{len(rows)} single-task models",
        source="baseline",
        cost=sum((row.cost for row in rows), Cost()),
        chosen=None,
        planned_trials=sum(row.planned_trials for row in rows),
        planned_samples=sum(row.planned_samples for row in rows),
    )
    return row, {task: value for row in rows if row.chosen is not None for task, value in row.chosen.test.items()}


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:15]}…"


def _folded(text: str) -> str:
    """``240 (20 trials)`` and ``21 + 6 reused`` over two lines."""
    return text.replace(" (", "\n(").replace(" + ", "\n+ ").replace(" of ", "\nof ") if len(text) > 9 else text


def _note(text: str) -> str:
    return text.replace("extrapolated from ", "extrapolated\nfrom ").replace(" of them ", "\nof them ")
