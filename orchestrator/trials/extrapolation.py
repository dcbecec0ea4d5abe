"""The cost of a whole grid, of which only some is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.trials.trial import TrialResult

GRID_TRIALS = "nmt.grid_trials"
"""Tag of a grid's run: trainings of the whole grid."""


@dataclass(frozen=True)
class Extrapolation:
    """What a whole grid would cost, with nothing in the storage.

    Attributes:
        trials: Trainings of the whole grid.
        samples: Training examples: as many for each of them as those took on average that were trained.
        trained: Trainings that this is extrapolated from.
    """

    trials: int
    samples: int
    trained: int


def extrapolate(whole: int, results: Sequence[TrialResult]) -> Extrapolation | None:
    """Extrapolate a grid; ``None`` where there is nothing to extrapolate, or nothing to do it from.

    Args:
        whole: Trainings of the whole grid; 0 where it is none.
        results: What was trained of it, and the baselines beside it.
    """
    trained = [result.cost for result in results if result.trial.source == "grid" and result.finished]
    if not 0 < len(trained) < whole:
        return None
    each = sum(cost.samples + cost.samples_reused for cost in trained) / len(trained)
    return Extrapolation(whole, round(each * whole), len(trained))
