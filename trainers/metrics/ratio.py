"""Metrics that are a quotient of two sums over a split."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Ratio(Metric):
    """Adds up a numerator and a denominator in double precision; only the two sums travel between workers."""

    full_state_update = False
    numerator: Tensor
    denominator: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("numerator", "denominator"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The quotient; NaN when there was nothing to measure, or an output is not a number."""
        return self.numerator / self.denominator
