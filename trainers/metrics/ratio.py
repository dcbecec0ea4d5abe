"""Metrics that are a function of the ratio of two sums over the examples of a split."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from nmt.trainers.data.batch import Batch


class Ratio(Metric):
    r"""The ratio :math:`\sum_e a_e / \sum_e b_e` of two sums over examples e, or a function of it.

    A subclass gives the parts :math:`a_e` and :math:`b_e` of each example. They are summed in double precision, and
    workers exchange only the two sums. The standard error of a difference is estimated from the parts.
    """

    full_state_update = False
    higher_is_better = True
    numerator: Tensor
    denominator: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("numerator", "denominator"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def parts(self, output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return a and b of each example, double, shape ``(examples,)``; NaN in a where an output is NaN.

        Args:
            output: Output of the task, shape ``(rows,)`` or ``(rows, classes)``.
            label: Its label, NaN where missing, shape ``(rows,)``.
            batch: The minibatch.
        """

    @staticmethod
    def of_ratio(ratio: Tensor) -> Tensor:
        """Return the metric from the ratio."""
        return ratio

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:
        """Add a minibatch; the arguments are those of :meth:`parts`."""
        numerator, denominator = self.parts(output, label, batch)
        self.numerator += numerator.sum()
        self.denominator += denominator.sum()

    def compute(self) -> Tensor:
        """Return the metric; NaN when there was no sample or an output was NaN."""
        return self.of_ratio(self.numerator / self.denominator)


def sum_by_example(values: Tensor, batch: Batch) -> Tensor:
    """Sum values of rows within each example, shape ``(rows,)`` → ``(examples,)``."""
    if batch.query is None:
        return values
    return values.new_zeros(batch.examples).index_add(0, batch.query, values)
