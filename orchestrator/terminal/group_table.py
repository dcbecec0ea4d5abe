"""A finished group of trials as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.summary.wording import NOTHING
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.group_ledger import shown_value
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.trial import TrialResult
from nmt.trainers.spec.task import Task

MOST_ROWS = 30
"""Up to this many trials are all shown; of more, the winner, the baselines and those that did not finish."""

WIDE = 110
"""Width of a terminal, in columns, from which on there is room for validation metrics."""

MOST_TASKS, MOST_TASKS_NARROW = 6, 3
"""Most tasks that have a column, on a wide and on a narrow terminal."""


def group_table(outcome: GroupOutcome, tasks: Sequence[Task], title: str, width: int) -> Table:
    """Return a table with a row per trial: each task's metric, and what was trained and reused.

    Args:
        outcome: The group.
        tasks: All tasks, by priority.
        title: Stands above the table.
        width: Columns of the terminal; below :data:`WIDE`, only test metrics are shown, and fewer tasks.
    """
    wide = width >= WIDE
    shown = tasks[: MOST_TASKS if wide else MOST_TASKS_NARROW]
    metrics = {task.metric.rpartition(":")[2] or "loss" for task in shown}
    what = f"{metrics.pop()} on " if len(metrics) == 1 else "on "
    splits = "valid → test" if wide else "test"
    table = Table(
        title=f"{title}, {what}{splits}",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
    )
    table.show_edge = table.pad_edge = False
    table.collapse_padding = True
    table.caption_justify, table.caption_style = "left", ""
    table.add_column("trial", no_wrap=True, overflow="ellipsis", min_width=min(24, width // 3))
    for task in shown:
        name = f"\n{task.metric.rpartition(':')[2] or 'loss'}" if metrics else ""
        table.add_column(f"{task.name}{name}", justify="right", no_wrap=True)
    table.add_column("stages\nnew + old", justify="right", no_wrap=True)
    if wide:
        table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in _shown_trials(outcome):
        table.add_row(*_cells(result, shown, result is outcome.winner, wide))
    table.caption = Text("\n" + "\n".join(_notes(outcome, len(tasks) - len(shown))))
    return table


def _shown_trials(outcome: GroupOutcome) -> list[TrialResult]:
    """Return the trials that have a row."""
    if len(outcome.results) <= MOST_ROWS:
        return list(outcome.results)
    return [
        result
        for result in outcome.results
        if result is outcome.winner or result.trial.source == "baseline" or not result.finished
    ][:MOST_ROWS]


def _compare_to_forecast(samples: int, planned: Forecast) -> str:
    """Say whether the samples that were counted are those that were predicted."""
    if planned.exact:
        as_or_not = "as" if samples == planned.samples else "not as"
        return f"{as_or_not} predicted ({planned.samples:,})"
    return f"predicted at most {planned.samples:,}"


def _cells(result: TrialResult, tasks: Sequence[Task], wins: bool, wide: bool) -> list[Text]:
    style = "bold" if wins else ""
    mark = {"finished": "winner" if wins else "", "diverged": "diverged", "failed": "failed", "stopped": "stopped"}
    cells = [Text(result.trial.label, style)]
    for task in tasks:
        valid, test = (shown_value(task, result, split) for split in ("valid", "test"))
        if valid is None or test is None:
            cells.append(Text(NOTHING, style))
        else:
            cells.append(Text(f"{valid:.4f} → {test:.4f}" if wide else f"{test:.4f}", style))
    cells.append(Text(f"{result.cost.stages} + {result.cost.stages_reused}"))
    if wide:
        cells.append(Text(f"{result.cost.samples:,}"))
    colour = "green" if result.finished else "yellow" if result.status == "stopped" else "red"
    cells.append(Text(mark[result.status], colour))
    return cells


def _notes(outcome: GroupOutcome, more_tasks: int) -> list[str]:
    cost = outcome.cost
    notes = []
    hidden = len(outcome.results) - len(_shown_trials(outcome))
    if hidden:
        notes.append(f"{hidden:,} more trials are in MLflow and in the JSON document.")
    if more_tasks:
        notes.append(f"{more_tasks} more tasks are in MLflow and in the JSON document.")
    if outcome.winner is not None:
        notes.append(
            f"Winner, by priority on the validation split: {outcome.winner.trial.label}. On a task, trials within the "
            "standard error of their paired difference to the best are as good as it."
        )
    notes.append(
        f"{cost.trials:,} trials, {cost.stages:,} stages trained, {cost.stages_reused:,} reused; {cost.samples:,} "
        f"samples, {_compare_to_forecast(cost.samples, outcome.planned)}; {cost.samples_reused:,} saved by reuse; "
        f"{cost.worker_seconds:,.1f} worker-seconds."
    )
    if (whole := outcome.whole) is not None:
        notes.append(
            f"The whole grid of {whole.trials:,} trainings: ≈ {whole.samples:,} samples, extrapolated from "
            f"{whole.trained:,} of them."
        )
    notes += [f"{result.trial.label} {result.status}: {result.reason}" for result in outcome.broken]
    notes += [f"{r.trial.label} diverged: {r.reason}" for r in outcome.results if r.status == "diverged"]
    if outcome.unfinished:
        notes.append(f"{len(outcome.unfinished)} trials were stopped; the same command goes on with them.")
    return notes
