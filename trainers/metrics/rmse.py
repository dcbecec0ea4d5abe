"""Root mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from trainers.data.batch import Batch
from trainers.losses.output_shape import require_one_value


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error over the labelled rows of a split, over all workers; in the label's unit.

    Sums are in double precision: in the single precision of torchmetrics, late rows of a long split are rounded away.
    """

    def __init__(self) -> None:
        super().__init__(squared=False)
        self.set_dtype(torch.float64)

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:  # type: ignore[override]
        """Add a minibatch: predictions and labels of shape ``(rows,)``, NaN where a label is missing."""
        labelled = ~label.isnan()
        super().update(require_one_value(output, label)[labelled].double(), label[labelled].double())

    def compute(self) -> Tensor:
        """Return the error; NaN when there was no label or a prediction was NaN."""
        return super().compute().squeeze()
