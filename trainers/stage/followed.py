"""Which tasks a stage's record follows step by step, where there are many."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from nmt.trainers.records import Candidate, Row, StageRecord

MOST_OTHERS = 12
"""Tasks beside those of its level that a stage follows. All protected tasks in every one of m stages would be m²/2
curves; with so many at most, what a chain keeps and logs of its steps is proportional to m. Chains of up to
``MOST_OTHERS + 1`` tasks keep everything."""

Value = TypeVar("Value")


def followed_from_the_start(
    tasks: Sequence[str], level: Collection[str], protected: Collection[str]
) -> tuple[str, ...]:
    """Tasks of which it is known before the stage has ended that it follows them, by priority.

    Args:
        tasks: All tasks of the chain.
        level: Tasks that the stage solves; none for the joint start, which follows the first tasks by priority.
        protected: Tasks that it holds.
    """
    if len(tasks) - len(level) <= MOST_OTHERS:
        return tuple(tasks)
    if not level:
        return tuple(tasks[:MOST_OTHERS])
    return tuple(task for task in tasks if task in level or (task in protected and len(protected) <= MOST_OTHERS))


def followed(record: StageRecord) -> tuple[str, ...]:
    """Tasks whose curves belong to a finished stage, by priority.

    Those of its level, and of the protected ones, where they are more than :data:`MOST_OTHERS`, those that held it back
    most: tasks beyond their limits first, then by λ at the end, then by how close they came to their limits.
    """
    tasks = tuple(record.losses.get("valid", {})) or (*record.protected, *record.level)
    known = followed_from_the_start(tasks, record.level, record.protected)
    if len(record.protected) <= MOST_OTHERS or len(known) == len(tasks):
        return known
    excess = {
        verdict.task: verdict.difference - verdict.allowed for verdict in record.verdicts if verdict.split == "valid"
    }
    broken = {verdict.task for verdict in record.verdicts if verdict.split == "valid" and not verdict.held}

    def rank(task: str) -> tuple[bool, float, float]:
        return task in broken, _or_least(record.multipliers.get(task)), _or_least(excess.get(task))

    most = {*sorted(record.protected, key=rank, reverse=True)[:MOST_OTHERS], *record.level}
    return tuple(task for task in tasks if task in most)


def trim_curves(record: StageRecord) -> StageRecord:
    """The record with the curves of :func:`followed` tasks only; everything at the accepted θ* stays, of every task."""
    tasks = set(followed(record))
    if len(tasks) >= len(record.losses["valid"]):
        return record
    return replace(
        record,
        rows=tuple(row_of(row, tasks) for row in record.rows),
        candidates=tuple(candidate_of(candidate, tasks) for candidate in record.candidates),
    )


def row_of(row: Row, tasks: Collection[str]) -> Row:
    """What a row says of these tasks."""
    return replace(
        row,
        losses=_of(row.losses, tasks),
        violations=_of(row.violations, tasks),
        multipliers=_of(row.multipliers, tasks),
    )


def candidate_of(candidate: Candidate, tasks: Collection[str]) -> Candidate:
    """What a candidate says of these tasks; whether it is feasible remains what all of them say."""
    return replace(
        candidate,
        losses=_of(candidate.losses, tasks),
        metrics=_of(candidate.metrics, tasks),
        verdicts=tuple(verdict for verdict in candidate.verdicts if verdict.task in tasks),
    )


def _of(values: Mapping[str, Value], tasks: Collection[str]) -> dict[str, Value]:
    return {task: value for task, value in values.items() if task in tasks}


def _or_least(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else -math.inf
