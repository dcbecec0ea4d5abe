"""Dominance between models, and the Pareto front of a set of models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nmt.orchestrator.comparison.results import ComparedModel, ComparedTask

Place = Literal["beyond", "on", "inside"]
"""Where a model lies relative to a front; see :attr:`Standing.place`."""


@dataclass(frozen=True)
class Standing:
    """How a model compares with others, over all tasks jointly.

    Attributes:
        others: Number of other models that have every task's metric; the counts below are over these.
        incomplete: Number of other models that lack a metric.
        dominating: How many of ``others`` dominate the model.
        dominated: How many of ``others`` the model dominates.
        front: How many of ``others`` are on their Pareto front.
        front_dominated: How many models of that front the model dominates.
    """

    others: int
    incomplete: int
    dominating: int
    dominated: int
    front: int
    front_dominated: int

    @property
    def place(self) -> Place:
        """``inside`` if another model dominates this one; ``beyond`` if none does and it dominates one on the front.

        Otherwise ``on``: another trade-off, neither better nor worse than those of the front.
        """
        if self.dominating:
            return "inside"
        return "beyond" if self.front_dominated else "on"


def dominates(one: Mapping[str, float], other: Mapping[str, float], tasks: Sequence[ComparedTask]) -> bool:
    """Return whether ``one`` is at least as good as ``other`` in every task and better in at least one.

    Args:
        one: Task → metric.
        other: Task → metric.
        tasks: The tasks to compare on, with their directions.

    Returns:
        ``False`` also where either lacks a finite metric of a task.
    """
    first, second = _gains(one, tasks), _gains(other, tasks)
    known = bool(np.isfinite(first).all() and np.isfinite(second).all())
    return known and bool((first >= second).all() and (first > second).any())


def front(models: Sequence[ComparedModel], tasks: Sequence[ComparedTask]) -> tuple[ComparedModel, ...]:
    """Return the models that no other dominates on the test metrics of ``tasks``; equal models are all kept.

    Models without a finite metric of every task are left out.
    """
    complete = [model for model in models if has_all(model, tasks)]
    gains = np.array([_gains(model.test, tasks) for model in complete])
    return tuple(model for model, own in zip(complete, gains, strict=True) if not _dominating(gains, own).any())


def standing(model: ComparedModel, others: Sequence[ComparedModel], tasks: Sequence[ComparedTask]) -> Standing | None:
    """Compare ``model`` with ``others`` on the test metrics; ``None`` where it or all of them lack a metric."""
    complete = [other for other in others if has_all(other, tasks)]
    if not complete or not has_all(model, tasks):
        return None
    best = front(complete, tasks)
    return Standing(
        others=len(complete),
        incomplete=len(others) - len(complete),
        dominating=sum(dominates(other.test, model.test, tasks) for other in complete),
        dominated=sum(dominates(model.test, other.test, tasks) for other in complete),
        front=len(best),
        front_dominated=sum(dominates(model.test, other.test, tasks) for other in best),
    )


def has_all(model: ComparedModel, tasks: Sequence[ComparedTask]) -> bool:
    """Return whether the model has a finite test metric of every task."""
    return all(math.isfinite(model.test.get(task.name, math.nan)) for task in tasks)


def _gains(metrics: Mapping[str, float], tasks: Sequence[ComparedTask]) -> NDArray[np.float64]:
    """Return the metrics in the order of ``tasks``, signed so that higher is better; NaN where one is missing."""
    return np.array([(1 if task.higher_is_better else -1) * metrics.get(task.name, math.nan) for task in tasks])


def _dominating(gains: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows of ``gains`` (models × tasks) dominate ``own`` (tasks)."""
    return np.logical_and((gains >= own).all(axis=1), (gains > own).any(axis=1))
