"""A task: one objective of the model, with its loss, label, metric and tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nmt.trainers.registry import METRIC_OF_LOSS

_RESERVED = ("/", "[", "]")


@dataclass(frozen=True)
class Task:
    """One task of a prioritised experiment.

    Attributes:
        name: Name in records and metrics.
        loss: Registered loss, or ``package.module:callable``.
        label: Label column; the task's name when absent.
        metric: Registered metric, or ``package.module:callable``; chosen by the loss when absent.
        tolerance: ε ≥ 0, in units of the loss: how much worse than its optimum a later stage may leave this task.
        options: Further keyword arguments of the loss.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    loss: str
    label: str = ""
    metric: str = ""
    tolerance: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or any(character in self.name for character in _RESERVED):
            raise ValueError(f"a task's name must be non-empty and without {' '.join(_RESERVED)}, found {self.name!r}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance must be a finite number of at least 0, found {self.tolerance}")
        object.__setattr__(self, "label", self.label or self.name)
        object.__setattr__(self, "metric", self.metric or METRIC_OF_LOSS.get(self.loss, ""))


Level = tuple[Task, ...]
"""Tasks of equal priority: solved in one stage, whose objective is the sum of their losses."""
