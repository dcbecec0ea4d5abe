"""Losses as a user would write them, and some that a user would get wrong."""

from __future__ import annotations

from torch import Tensor

from trainers.data.batch import Batch
from trainers.losses.samples import Samples, of_rows

NO_FUNCTION = 0.5


def absolute_error(prediction: Tensor, label: Tensor, batch: Batch, scale: float = 1.0) -> Samples:
    """scale · |s − y|; the first arguments may have any name."""
    missing = label.isnan()
    return of_rows(scale * (prediction - label).masked_fill(missing, 0.0).abs(), ~missing, batch)


def mean_error(output: Tensor, label: Tensor, batch: Batch) -> Tensor:
    """A mean, as losses return it elsewhere."""
    return (output - label).abs().nanmean()


def total_error(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """One sum for all examples."""
    samples = absolute_error(output, label, batch)
    return Samples(samples.sums.sum(0), samples.counts.sum(0))


def picky(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """Refuses what it is given."""
    raise ValueError(f"wants positive outputs, found {float(output.min()):g}")


def of_two_tensors(output: Tensor, label: Tensor) -> Tensor:
    """The signature of torch's losses."""
    return (output - label).abs().mean()
