"""Accuracy: how often the predicted class is the label."""

from __future__ import annotations

from torch import Tensor

from trainers.data.batch import Batch
from trainers.metrics.ratio import Ratio


class Accuracy(Ratio):
    """Share of the labelled rows of a split whose predicted class is the label, over all workers.

    The predicted class of a row of logits is the largest one; that of a single logit is 1 where it is above 0.

    torchmetrics has an accuracy for each kind. Its binary one takes logits within [0, 1] for probabilities, batch by
    batch; its multi-class one wants to know the number of classes beforehand and averages over classes; both call the
    accuracy of nothing 0.
    """

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:
        """Add a minibatch.

        Args:
            output: Logits, shape ``(rows,)`` or ``(rows, classes)``.
            label: Class as a whole number, NaN where missing, shape ``(rows,)``.
            batch: The minibatch.
        """
        predicted = output > 0 if output.dim() == 1 else output.argmax(1)
        right = (predicted == label).double()
        unknown = output.isnan().reshape(len(label), -1).any(1)
        labelled = ~label.isnan()
        self.numerator += right.masked_fill(unknown, float("nan")).masked_fill(~labelled, 0.0).sum()
        self.denominator += labelled.sum()
