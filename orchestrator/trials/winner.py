"""Lexicographic choice among finished trials: best on the first level, then the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import TrialResult
from nmt.trainers.faults import DamagedError


def lexicographic_winner(
    results: Sequence[TrialResult], levels: Sequence[Sequence[str]], held_out: HeldOut
) -> TrialResult | None:
    r"""Return the best trial by priority, on the validation split.

    Level by level, a trial stays if it is as good as the level's best within one standard error of their paired
    difference: :math:`D \le SE` of the level's summed losses, over the same examples. The last level decides between
    the trials that are left. Trials are compared with the best, not with each other, so that small losses do not add
    up.

    Args:
        results: Trials; only finished ones whose models have all these tasks take part.
        levels: Names of the tasks by priority.
        held_out: Validation samples of the trials.

    Returns:
        The winner; ``None`` where no trial finished.
    """
    needed = {task for level in levels for task in level}
    remaining = [
        result
        for result in results
        if result.finished and result.records and needed <= result.records[-1].losses["valid"].keys()
    ]
    for number, level in enumerate(levels):
        known = [result for result in remaining if math.isfinite(_loss(result, level))]
        if not known:
            continue
        best = min(known, key=lambda result: _loss(result, level))
        if number == len(levels) - 1:
            return best
        remaining = [result for result in known if result is best or _as_good(result, best, level, held_out)]
    return remaining[0] if remaining else None


def _loss(result: TrialResult, level: Sequence[str]) -> float:
    losses = result.records[-1].losses["valid"]
    return math.fsum(losses.get(task, math.nan) for task in level)


def _as_good(result: TrialResult, best: TrialResult, level: Sequence[str], held_out: HeldOut) -> bool:
    key, other = result.records[-1].key, best.records[-1].key
    if key == other:
        return True
    try:
        difference, error = held_out.level_difference(key, other, level)
    except (DamagedError, KeyError):
        return False  # without its samples nothing shows that it is as good
    return difference <= error
