"""What one stage of a chain computes."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.spec.task import Level
from trainers.spec.training import Training


@dataclass(frozen=True)
class StageSpec:
    """What one stage of a chain computes.

    Attributes:
        index: Place of the stage in its chain, from 0.
        level: Tasks to minimise; the objective is the weighted sum of their losses.
        training: How the stage is trained.
    """

    index: int
    level: Level
    training: Training

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each task of the level in the objective."""
        return self.training.weights or (1.0,) * len(self.level)
