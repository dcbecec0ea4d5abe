"""When within an epoch a stage is evaluated."""

from __future__ import annotations

import math

from nmt.trainers.data.feed import Feed

SHARE = 0.1
"""Time of evaluations, as a share of that of optimisation steps, that is kept where the pace is not given."""

FORWARD_SHARE = 1 / 3
"""Time of an example's forward pass against that of its forward and backward pass."""

MOST = 6
"""Evaluations per epoch at most where the pace is not given: rarely does a stage gain more from being seen oftener."""


def evaluations_per_epoch(asked: int | None, feed: Feed) -> int:
    """Evaluations per pass over the training split, at least one.

    Args:
        asked: Their number; ``None`` for as many, up to :data:`MOST`, as keep to :data:`SHARE`. That is counted in
            examples, not timed, so that a stage is the same wherever it is trained.
        feed: The data.
    """
    if asked is not None:
        return asked
    affordable = SHARE * feed.examples("train") / (FORWARD_SHARE * feed.examples("valid"))
    return max(1, min(MOST, math.floor(affordable)))


def evaluation_steps(evaluations: int, steps: int) -> frozenset[int]:
    """Steps of an epoch, from 1, after which there is an evaluation: evenly spread, the last one at its end.

    Args:
        evaluations: Evaluations per epoch.
        steps: Steps per epoch.
    """
    return frozenset(math.ceil(steps * (number + 1) / evaluations) for number in range(evaluations))
