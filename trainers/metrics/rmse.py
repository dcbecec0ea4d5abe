"""Root mean squared error."""

from __future__ import annotations

from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value
from nmt.trainers.metrics.ratio import Ratio, sum_by_example


class RootMeanSquaredError(Ratio):
    """Root of the mean squared error over the labelled rows of a split, over all workers; in the label's unit.

    Sums are in double precision: in the single precision of torchmetrics, late rows of a long split are rounded away.
    """

    higher_is_better = False

    def parts(self, output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the squared errors and the labelled rows of each example."""
        labelled = ~label.isnan()
        error = (require_one_value(output, label).double() - label.double()).square().masked_fill(~labelled, 0.0)
        return sum_by_example(error, batch), sum_by_example(labelled.double(), batch)

    @staticmethod
    def of_ratio(ratio: Tensor) -> Tensor:
        """Return the root of the mean squared error."""
        return ratio.sqrt()
