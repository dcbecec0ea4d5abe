"""Pair accuracy: the share of pairs whose preferred item has the higher score."""

from __future__ import annotations

from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.pairwise_logistic import pairs
from nmt.trainers.metrics.ratio import Ratio


class PairAccuracy(Ratio):
    """Share of preferred pairs (as in the pairwise logistic loss) in the right order; a tie counts half."""

    def parts(self, output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the right pairs and the preferred pairs of each list."""
        score, preferred = pairs(output.unsqueeze(1), label.unsqueeze(1), batch)
        difference = score.unsqueeze(2) - score.unsqueeze(1)
        right = (difference > 0).double() + 0.5 * (difference == 0).double()
        right = right.masked_fill(difference.isnan(), float("nan"))
        right = right.where(preferred, 0.0)
        return right.sum((1, 2, 3)), preferred.double().sum((1, 2, 3))
