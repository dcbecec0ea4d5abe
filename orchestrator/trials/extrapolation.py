"""Cost of a whole grid, extrapolated from the trials that were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmt.orchestrator.trials.trial import TrialResult

GRID_TRIALS = "nmt.grid_trials"
"""Tag of a grid's run: number of trials of the whole grid."""


@dataclass(frozen=True)
class Extrapolation:
    """Cost of a whole grid with nothing in the storage.

    Attributes:
        trials: Trials of the whole grid.
        samples: Training examples: trials times the mean of the trained ones.
        trained: Trials that were trained.
    """

    trials: int
    samples: int
    trained: int


def extrapolate(whole: int, results: Sequence[TrialResult]) -> Extrapolation | None:
    """Extrapolate a grid's cost; ``None`` where everything or nothing was trained.

    Args:
        whole: Trials of the whole grid; 0 for another group.
        results: Results of the group, baselines included.
    """
    trained = [result.cost for result in results if result.trial.source == "grid" and result.finished]
    if not 0 < len(trained) < whole:
        return None
    each = sum(cost.samples + cost.samples_reused for cost in trained) / len(trained)
    return Extrapolation(whole, round(each * whole), len(trained))
