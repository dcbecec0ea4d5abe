"""What a stage must not break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainers.evaluation.acceptance import References
from trainers.records import Optimum
from trainers.spec.task import Task


@dataclass(frozen=True)
class Protection:
    """What a stage must not break.

    Attributes:
        tasks: Protected tasks, by priority.
        optima: Their optima, in the same order.
        references: Split → task → this worker's samples at the task's θ*.
    """

    tasks: tuple[Task, ...] = ()
    optima: tuple[Optimum, ...] = ()
    references: Mapping[str, References] = field(default_factory=dict)
