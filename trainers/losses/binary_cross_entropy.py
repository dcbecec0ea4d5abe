"""Binary cross-entropy of logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainers.data.batch import Batch
from trainers.losses.one_value import one_value
from trainers.losses.samples import Samples, counted_by, labelled_rows, of_rows


@counted_by(labelled_rows)
def binary_cross_entropy(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Binary cross-entropy :math:`-y \log \sigma(s) - (1 - y) \log(1 - \sigma(s))` of logits s.

    Args:
        output: Logits, shape ``(rows, tasks)`` or ``(rows, 1)`` for one score of several tasks.
        label: 0, 1 or NaN (missing), shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: There are several values for each row of a task.
    """
    target = torch.nan_to_num(label, nan=0.0).to(output.dtype)
    logits = one_value(output, label).expand_as(target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return of_rows(losses, ~label.isnan(), batch)
