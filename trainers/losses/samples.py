"""The currency of losses: per example, the sum of its sample losses and the number of its labelled samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainers.data.batch import Batch


class Samples(NamedTuple):
    """Sample losses of a minibatch, added up within each example.

    A **sample** is what a loss is a mean over: a labelled row, or, for a pairwise loss, a pair of rows of one list. The
    mean loss of any set of examples, over any number of workers, is ``sums.sum() / counts.sum()``.

    Attributes:
        sums: Sum of sample losses, shape ``(examples, tasks)``.
        counts: Labelled samples, shape ``(examples, tasks)``, in the type of ``sums``.
    """

    sums: Tensor
    counts: Tensor


def of_rows(losses: Tensor, labelled: Tensor, batch: Batch) -> Samples:
    """Row losses as :class:`Samples`: added up within lists where the data has them.

    Args:
        losses: Loss of each row, shape ``(rows, tasks)``; anything finite where there is no label.
        labelled: Whether the row has a label, same shape.
        batch: The minibatch.
    """
    counts = labelled.to(losses.dtype)
    sums = losses * counts
    if batch.query is None:
        return Samples(sums, counts)
    empty = sums.new_zeros(batch.examples, sums.shape[1])
    return Samples(empty.index_add(0, batch.query, sums), torch.zeros_like(empty).index_add(0, batch.query, counts))
