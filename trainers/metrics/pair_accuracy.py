"""Pair accuracy: how often the preferred item of a pair has the higher score."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from trainers.data.batch import Batch
from trainers.losses.pairwise_logistic import pairs


class PairAccuracy(Metric):
    """Share of preferred pairs (as in the pairwise logistic loss) that the score orders rightly; a tie counts half."""

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:
        """Add a minibatch: scores and labels of shape ``(rows,)``, NaN where a label is missing."""
        score, preferred = pairs(output.unsqueeze(1), label.unsqueeze(1), batch)
        difference = score.unsqueeze(2) - score.unsqueeze(1)
        right = (difference > 0).double() + 0.5 * (difference == 0).double()
        self.right += (right * preferred).sum()
        self.total += preferred.sum()

    def compute(self) -> Tensor:
        """The share, or NaN when no pair was seen."""
        return self.right / self.total
