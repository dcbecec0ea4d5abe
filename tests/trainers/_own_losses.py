"""Losses as a user would write them, right and wrong."""

from __future__ import annotations

from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.samples import Samples, samples_from_rows

NO_FUNCTION = 0.5


def absolute_error(prediction: Tensor, label: Tensor, batch: Batch, scale: float = 1.0) -> Samples:
    """Return scale · |s − y|; the names of the first arguments are free."""
    missing = label.isnan()
    return samples_from_rows(scale * (prediction - label).masked_fill(missing, 0.0).abs(), ~missing, batch)


def mean_error(output: Tensor, label: Tensor, batch: Batch) -> Tensor:
    """Return a mean, as losses do elsewhere."""
    return (output - label).abs().nanmean()


def total_error(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """Return one sum for all examples."""
    samples = absolute_error(output, label, batch)
    return Samples(samples.sums.sum(0), samples.counts.sum(0))


def picky(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    """Refuse every output."""
    raise ValueError(f"wants positive outputs, found {float(output.min()):g}")


def of_two_tensors(output: Tensor, label: Tensor) -> Tensor:
    """Have the signature of torch's losses."""
    return (output - label).abs().mean()


def shifted(output: Tensor, label: Tensor, batch: Batch, by: float = 0.0) -> Samples:
    """Return |s − y| + by, whose gradient does not depend on ``by``."""
    samples = absolute_error(output, label, batch)
    return Samples(samples.sums + by * samples.counts, samples.counts)
