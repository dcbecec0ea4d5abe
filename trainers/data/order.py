"""The order in which a training epoch visits examples: independent of the number of workers, balanced between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LANES = (840, 120, 24, 12, 4, 2)
"""Lane counts to choose from. Many divisors: 840 balances every group of 1 to 8 workers exactly."""

_EXAMPLES_PER_LANE = 32
"""Fewest examples per lane; with fewer the order within a lane would be predictable."""


def epoch_order(examples: int, seed: int, stage: int, epoch: int) -> NDArray[np.int64]:
    """Return a seeded permutation of ``range(examples)`` whose every window is spread evenly over workers.

    Worker r of W holds the examples i with i mod W = r, and takes those of its examples that a global batch contains.
    Under a plain permutation the size of its share would be binomial. Here example i belongs to lane i mod V. Each lane
    is shuffled, and position p of the order takes the next example of lane p mod V. For every W that divides V, any W
    consecutive positions then hold one example of each worker. V depends on the number of examples alone, so the order
    does not depend on the number of workers.

    Args:
        examples: Number of examples of the split.
        seed: The experiment's seed.
        stage: Index of the stage.
        epoch: Index of the epoch within the stage.
    """
    rng = np.random.default_rng([seed, stage, epoch])
    lanes = next((v for v in _LANES if examples >= v * _EXAMPLES_PER_LANE), 1)
    order = np.empty(examples, dtype=np.int64)
    for lane in range(lanes):
        indices = np.arange(lane, examples, lanes, dtype=np.int64)
        rng.shuffle(indices)
        order[lane::lanes] = indices
    return order
