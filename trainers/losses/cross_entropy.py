"""Cross-entropy of class logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.samples import Samples, count_labelled_rows, count_with, samples_from_rows

MISSING = -100
"""Class index of a missing label: its loss and gradient are exactly 0, whatever the logits."""


@count_with(count_labelled_rows)
def cross_entropy(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Cross-entropy :math:`-\log \frac{\exp(s_y)}{\sum_c \exp(s_c)}` of logits s over classes c, at the class y.

    Args:
        output: Logits, shape ``(rows, tasks, classes)``, or ``(rows, 1, classes)`` when several tasks share them.
        label: Class index from 0, or NaN (missing), shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: The output does not have one logit per class.
    """
    if output.dim() != 3:
        raise ValueError(
            "cross_entropy needs one logit per class, an output of shape (rows, classes); the model's output has shape "
            f"{(output.shape[0], *output.shape[2:])}; for one logit per row use binary_cross_entropy"
        )
    target = torch.nan_to_num(label, nan=MISSING).long()
    logits = output.movedim(-1, 1).expand(-1, -1, target.shape[1])
    losses = functional.cross_entropy(logits, target, reduction="none", ignore_index=MISSING)
    return samples_from_rows(losses, ~label.isnan(), batch)
