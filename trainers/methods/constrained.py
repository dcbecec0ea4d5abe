"""No More Tuning itself: the convex combination of the losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from nmt.trainers.multipliers import Multipliers
from nmt.trainers.workers.pending_losses import PendingLosses
from nmt.trainers.workers.process_group import world_size


class Constrained:
    """Minimises the re-scaled convex combination of the losses, with one backward pass for any number of tasks.

    Args:
        multipliers: The stage's multipliers.
    """

    reduces_gradients = False

    def __init__(self, multipliers: Multipliers) -> None:
        self._multipliers = multipliers

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Run the backward pass; the factor undoes the mean over workers of DistributedDataParallel."""
        (self._multipliers.combine(contributions) * world_size()).backward()

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Do nothing."""

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        """Return λ itself."""
        return multipliers.clone()

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""
