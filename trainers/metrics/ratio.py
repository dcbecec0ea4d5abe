"""Metrics that are a ratio of two sums over a split."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Ratio(Metric):
    """Sums a numerator and a denominator in double precision; workers exchange only these two sums."""

    full_state_update = False
    numerator: Tensor
    denominator: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("numerator", "denominator"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Return the ratio; NaN when there was no sample or an output was NaN."""
        return self.numerator / self.denominator
