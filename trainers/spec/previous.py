"""The model of the day before, as far as it determines what a chain computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nmt.trainers.spec.task import Task


@dataclass(frozen=True)
class Previous:
    """The model that a chain goes on from: its parameters are where stage 0 starts, its multipliers where λ starts.

    Attributes:
        digest: Hash of the model's content, under which the storage has it.
        multipliers: Stage, by the names of its level (:func:`stage_label`) → protected task → λ at the stage's end.
    """

    digest: str
    multipliers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def stage_label(level: Iterable[Task | str]) -> str:
    """Return by what stages of two chains are matched: their level's tasks, or ``joint``."""
    return ", ".join(sorted(task if isinstance(task, str) else task.name for task in level)) or "joint"
