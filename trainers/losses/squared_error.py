"""Squared error of real-valued labels."""

from __future__ import annotations

from torch import Tensor

from trainers.data.batch import Batch
from trainers.losses.one_value import one_value
from trainers.losses.samples import Samples, counted_by, labelled_rows, of_rows


@counted_by(labelled_rows)
def squared_error(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Squared error :math:`(s - y)^2` of predictions s; its unit is that of the label, squared.

    Args:
        output: Predictions, shape ``(rows, tasks)`` or ``(rows, 1)`` for one prediction of several tasks.
        label: y, any real number, NaN where missing, shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: There are several values for each row of a task.
    """
    missing = label.isnan()
    error = (one_value(output, label) - label).masked_fill(missing, 0.0)  # before squaring: an overflow would stay
    return of_rows(error.square(), ~missing, batch)
