"""What one stage of a chain computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Level, Task


@dataclass(frozen=True)
class StageSpec:
    """What one stage of a chain computes.

    Attributes:
        index: Place of the stage in its chain, from 0; seeds the order of its data.
        number: What people call it: 0 for the joint start, k for the stage that solves level k.
        level: Tasks whose optima the stage records; none for the joint start.
        later: Tasks that stay in the mix with a weight of their own: those of later levels, or, for the joint start,
            all tasks.
        weights: Weight of each objective task, those of ``level`` first, then those of ``later``.
        protected: Tasks to hold at their optima, or at the live model's losses, by priority.
        settings: How the stage is trained.
        execution: How it runs and what is recorded.
        multipliers: Protected task → λ to start with, where that is inherited; the others start with the setting's.
    """

    index: int
    number: int
    level: Level
    later: tuple[Task, ...]
    weights: tuple[float, ...]
    protected: tuple[Task, ...]
    settings: Settings
    execution: Execution = field(default_factory=Execution)
    multipliers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.objective):
            raise ValueError(f"weights must be one per objective task: found {len(self.weights)} for {self.objective}")

    @property
    def is_joint(self) -> bool:
        """Whether this is the joint start, which solves no level."""
        return not self.level

    @property
    def objective(self) -> tuple[Task, ...]:
        """Tasks that the stage minimises, in the order of ``weights``."""
        return (*self.level, *self.later)

    @property
    def objective_weights(self) -> dict[str, float]:
        """Objective task → weight."""
        return {task.name: weight for task, weight in zip(self.objective, self.weights, strict=True)}

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks of the stage, each once, protected ones first."""
        held = {task.name for task in self.protected}
        return (*self.protected, *(task for task in self.objective if task.name not in held))

    @property
    def objective_by_task(self) -> tuple[float, ...]:
        """Weight in the objective of each of :attr:`tasks`; a live model's limits protect what is also minimised."""
        weights = self.objective_weights
        return tuple(weights.get(task.name, 0.0) for task in self.tasks)

    @property
    def name(self) -> str:
        """How messages name the stage: ``stage 2 (finish)``, ``stage 0 (joint)``."""
        return f"stage {self.number} ({', '.join(task.name for task in self.level) or 'joint'})"
