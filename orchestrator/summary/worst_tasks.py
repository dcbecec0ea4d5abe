"""Chooses the tasks to show when a terminal has no room for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MOST_TASKS = 12
"""Up to this many tasks are all shown."""

PROTECTED, UNPROTECTED = 6, 2
"""Of more tasks: how many protected ones are shown, worst first, and how many unprotected ones."""

Task = dict[str, Any]
"""A task of :func:`~nmt.orchestrator.summary.chain.chain_summary`."""


def worst_tasks(tasks: Sequence[Task]) -> Sequence[Task]:
    """Return the tasks to show, by priority.

    Args:
        tasks: All tasks, by priority.
    """
    if len(tasks) <= MOST_TASKS:
        return tasks
    protected = [task for task in tasks if task["guarantee"]["status"] != "not protected"]
    others = [task for task in tasks if task["guarantee"]["status"] == "not protected"]
    chosen = [*sorted(protected, key=_severity, reverse=True)[:PROTECTED], *others[:UNPROTECTED]]
    return [task for task in tasks if any(task is one for one in chosen)]


def selection_note(tasks: Sequence[Task]) -> str:
    """Say which tasks are shown and where the others are; empty if all are shown."""
    if len(tasks) <= MOST_TASKS:
        return ""
    protected = sum(task["guarantee"]["status"] != "not protected" for task in tasks)
    shown = min(PROTECTED, protected)
    return (
        f"Shown: of {protected} protected tasks the {shown} closest to their limits or beyond. All {len(tasks)} tasks: "
        "summary.json of the run in MLflow, or --json."
    )


def _severity(task: Task) -> tuple[bool, float]:
    """Order tasks by whether the guarantee is broken, then by the share of the allowance that is used."""
    broken, share = task["guarantee"]["status"] == "broken", task["guarantee"]["share_of_limit"]
    return broken, share if share is not None else math.inf if broken else -math.inf
