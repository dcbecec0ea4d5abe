"""Squared error for real-valued labels."""

from __future__ import annotations

from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value
from nmt.trainers.losses.samples import Samples, count_labelled_rows, count_with, samples_from_rows


@count_with(count_labelled_rows)
def squared_error(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Squared error :math:`(s - y)^2` of predictions s; its unit is that of the label, squared.

    Args:
        output: Predictions, shape ``(rows, tasks)`` or ``(rows, 1)`` when several tasks share one prediction.
        label: y, any real number, NaN where missing, shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: The output has several values per row.
    """
    missing = label.isnan()
    error = require_one_value(output, label) - label
    error = error.masked_fill(missing, 0.0)  # before squaring: the product of a mask and an overflow would be NaN
    return samples_from_rows(error.square(), ~missing, batch)
