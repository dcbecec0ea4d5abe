"""No More Tuning itself: the multipliers' convex combination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from trainers.multipliers import Multipliers
from trainers.workers.pending_losses import PendingLosses
from trainers.workers.process_group import world_size


class Constrained:
    """One backward pass of the re-scaled combination, whatever the number of tasks.

    Args:
        multipliers: The stage's multipliers.
    """

    reduces_gradients = False

    def __init__(self, multipliers: Multipliers) -> None:
        self._multipliers = multipliers

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """DistributedDataParallel averages over workers; the contributions are to be summed."""
        (self._multipliers.combine(contributions) * world_size()).backward()

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Nothing to note."""

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        """λ itself."""
        return multipliers.clone()

    def state_dict(self) -> dict[str, Any]:
        """Nothing is carried from step to step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""
