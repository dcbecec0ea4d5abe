"""Root mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from trainers.data.batch import Batch
from trainers.losses.one_value import one_value


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error over the labelled rows of a split, over all workers; in the label's unit.

    Sums are kept in double precision: torchmetrics adds up in single, where a long split's late rows get lost.
    """

    def __init__(self) -> None:
        super().__init__(squared=False)
        self.set_dtype(torch.float64)

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:  # type: ignore[override]
        """Add a minibatch: predictions and labels of shape ``(rows,)``, NaN where a label is missing."""
        labelled = ~label.isnan()
        super().update(one_value(output, label)[labelled].double(), label[labelled].double())

    def compute(self) -> Tensor:
        """The error; NaN when no label was seen, or a prediction is not a number."""
        return super().compute().squeeze()
