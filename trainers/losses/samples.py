"""The currency of losses: per example, the sum of its sample losses and the number of its labelled samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from trainers.data.batch import Batch

L = TypeVar("L", bound=Callable[..., "Samples"])


class Samples(NamedTuple):
    """Sample losses of a minibatch, added up within each example.

    A **sample** is what a loss is a mean over: a labelled row, or, for a pairwise loss, a pair of rows of one list. The
    mean loss of any set of examples, over any number of workers, is ``sums.sum() / counts.sum()``. Counts depend on the
    labels alone, never on what the model says.

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
    return Samples(_by_example(sums, batch), _by_example(counts, batch))


def labelled_rows(label: Tensor, batch: Batch) -> Tensor:
    """Labelled rows of each example, single precision, shape ``(examples, tasks)``.

    Args:
        label: NaN where missing, shape ``(rows, tasks)``.
        batch: The minibatch.
    """
    return _by_example((~label.isnan()).float(), batch)


def counted_by(count: Callable[[Tensor, Batch], Tensor]) -> Callable[[L], L]:
    """Say how a loss counts its samples from labels alone.

    The counts of the next minibatch are then known, and all-reduced, before its forward pass. A loss without this is
    called on zeros for them.

    Args:
        count: Maps ``(label, batch)`` to the counts that the loss returns, shape ``(examples, tasks)``.
    """

    def mark(loss: L) -> L:
        loss.counts = count  # type: ignore[attr-defined]
        return loss

    return mark


def _by_example(values: Tensor, batch: Batch) -> Tensor:
    if batch.query is None:
        return values
    return values.new_zeros(batch.examples, values.shape[1]).index_add(0, batch.query, values)
