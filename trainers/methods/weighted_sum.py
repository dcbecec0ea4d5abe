"""The baseline: the sum of the losses with fixed weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.trainers.workers.pending_losses import PendingLosses
from nmt.trainers.workers.process_group import world_size


class WeightedSum:
    r"""Minimises :math:`\sum_i w_i L_i` (the paper, equation 9).

    Args:
        weights: w, one per task.
        device: Device of the losses.
    """

    reduces_gradients = False

    def __init__(self, weights: Sequence[float], device: torch.device) -> None:
        self._weights = torch.tensor(weights, device=device)

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Run the backward pass; the factor undoes the mean over workers of DistributedDataParallel."""
        weighted = self._weights.to(contributions.dtype) @ contributions
        (weighted * world_size()).backward()

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
