"""Binary cross-entropy of logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value
from nmt.trainers.losses.samples import Samples, count_labelled_rows, count_with, samples_from_rows


@count_with(count_labelled_rows)
def binary_cross_entropy(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Binary cross-entropy :math:`-y \log \sigma(s) - (1 - y) \log(1 - \sigma(s))` of logits s.

    Args:
        output: Logits, shape ``(rows, tasks)`` or ``(rows, 1)`` when several tasks share one score.
        label: 0, 1 or NaN (missing), shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: The output has several values per row.
    """
    target = torch.nan_to_num(label, nan=0.0).to(output.dtype)
    logits = require_one_value(output, label).expand_as(target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return samples_from_rows(losses, ~label.isnan(), batch)
