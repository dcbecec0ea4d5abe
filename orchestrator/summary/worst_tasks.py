"""Of a chain with many tasks, those that a terminal has room for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MOST_TASKS = 12
"""Tasks that are all shown."""

PROTECTED, UNPROTECTED = 6, 2
"""Tasks shown of more: protected ones closest to their limits or furthest beyond, and unprotected ones."""

Task = dict[str, Any]
"""A task of :func:`~orchestrator.summary.chain.chain_summary`."""


def worst_tasks(tasks: Sequence[Task]) -> Sequence[Task]:
    """The tasks to show, in their order.

    Args:
        tasks: All tasks by priority.
    """
    if len(tasks) <= MOST_TASKS:
        return tasks
    protected = [task for task in tasks if task["guarantee"]["status"] != "not protected"]
    others = [task for task in tasks if task["guarantee"]["status"] == "not protected"]
    chosen = [*sorted(protected, key=_used, reverse=True)[:PROTECTED], *others[:UNPROTECTED]]
    return [task for task in tasks if any(task is one for one in chosen)]


def what_is_shown(tasks: Sequence[Task]) -> str:
    """A sentence about what is left out; empty where nothing is."""
    if len(tasks) <= MOST_TASKS:
        return ""
    protected = sum(task["guarantee"]["status"] != "not protected" for task in tasks)
    shown = min(PROTECTED, protected)
    return (
        f"Shown: of {protected} protected tasks the {shown} closest to their limits or beyond. All {len(tasks)} tasks: "
        "summary.json of the run in MLflow, or --json."
    )


def _used(task: Task) -> tuple[bool, float]:
    """Whether its guarantee is broken, and the used share of what it is allowed."""
    difference, allowed = task["guarantee"]["difference"], task["guarantee"]["allowed"]
    broken = task["guarantee"]["status"] == "broken"
    if difference is None or allowed is None:
        return broken, math.inf
    if allowed > 0:
        return broken, difference / allowed
    return broken, 0.0 if difference == 0 else math.copysign(math.inf, difference)
