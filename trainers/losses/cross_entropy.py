"""Cross-entropy of a row of logits, one for each class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainers.data.batch import Batch
from trainers.losses.samples import Samples, counted_by, labelled_rows, of_rows

MISSING = -100
"""In place of a missing label's class: its loss and gradient are exactly 0, whatever the logits are."""


@counted_by(labelled_rows)
def cross_entropy(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Cross-entropy :math:`-\log \frac{\exp(s_y)}{\sum_c \exp(s_c)}` of logits s over classes c, at the class y.

    Args:
        output: Logits, shape ``(rows, tasks, classes)``, or ``(rows, 1, classes)`` when several tasks read the same.
        label: Class as a whole number from 0, or NaN (missing), shape ``(rows, tasks)``.
        batch: The minibatch.

    Raises:
        ValueError: The output is not a row of logits for each row.
    """
    if output.dim() != 3:
        raise ValueError(
            "cross_entropy needs a logit for each class, an output of shape (rows, classes), and the model's has shape "
            f"{(output.shape[0], *output.shape[2:])}; for one logit per row take binary_cross_entropy"
        )
    target = torch.nan_to_num(label, nan=MISSING).long()
    logits = output.movedim(-1, 1).expand(-1, -1, target.shape[1])
    losses = functional.cross_entropy(logits, target, reduction="none", ignore_index=MISSING)
    return of_rows(losses, ~label.isnan(), batch)
