"""Accuracy: the share of rows whose predicted class is the label."""

from __future__ import annotations

from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.metrics.ratio import Ratio, sum_by_example


class Accuracy(Ratio):
    """Share of the labelled rows of a split whose predicted class is the label, over all workers.

    The predicted class is the argmax of a row of logits; for a single logit it is 1 where the logit is above 0.

    The accuracies of torchmetrics do not fit. The binary one interprets the logits of a batch as probabilities if all
    of them lie in [0, 1]. The multi-class one needs the number of classes in advance and averages over classes. Both
    return 0 when there is no label.
    """

    def parts(self, output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the right rows and the labelled rows of each example.

        Args:
            output: Logits, shape ``(rows,)`` or ``(rows, classes)``.
            label: Class index, NaN where missing, shape ``(rows,)``.
            batch: The minibatch.
        """
        predicted = output > 0 if output.dim() == 1 else output.argmax(1)
        right = (predicted == label).double()
        unknown = output.isnan().reshape(len(label), -1).any(1)
        labelled = ~label.isnan()
        right = right.masked_fill(unknown, float("nan")).masked_fill(~labelled, 0.0)
        return sum_by_example(right, batch), sum_by_example(labelled.double(), batch)
