"""The result of a loss: per example, the sum of its sample losses and the count of its labelled samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from nmt.trainers.data.batch import Batch

L = TypeVar("L", bound=Callable[..., "Samples"])


class Samples(NamedTuple):
    """Sample losses of a minibatch, summed within each example.

    A **sample** is the unit that a loss averages over: a labelled row, or, for a pairwise loss, a pair of rows of one
    list. The mean loss of any set of examples, over any number of workers, is ``sums.sum() / counts.sum()``. Counts
    depend on the labels alone, never on the model's outputs.

    Attributes:
        sums: Sums of sample losses, shape ``(examples, tasks)``.
        counts: Counts of labelled samples, shape ``(examples, tasks)``, in the dtype of ``sums``.
    """

    sums: Tensor
    counts: Tensor


def samples_from_rows(losses: Tensor, labelled: Tensor, batch: Batch) -> Samples:
    """Return row losses as :class:`Samples`; they are summed within lists where the data has lists.

    Args:
        losses: Loss of each row, shape ``(rows, tasks)``; any finite value where there is no label.
        labelled: Whether the row has a label, same shape.
        batch: The minibatch.
    """
    counts = labelled.to(losses.dtype)
    sums = losses * counts
    return Samples(_by_example(sums, batch), _by_example(counts, batch))


def count_labelled_rows(label: Tensor, batch: Batch) -> Tensor:
    """Count the labelled rows of each example; single precision, shape ``(examples, tasks)``.

    Args:
        label: NaN where missing, shape ``(rows, tasks)``.
        batch: The minibatch.
    """
    return _by_example((~label.isnan()).float(), batch)


def count_with(count: Callable[[Tensor, Batch], Tensor]) -> Callable[[L], L]:
    """Decorate a loss with a function that computes its counts from the labels alone.

    The counts of the next minibatch can then be all-reduced before its forward pass. A loss without this decorator is
    evaluated on outputs of 0 to get them.

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
