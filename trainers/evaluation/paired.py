"""The mean difference of two models' losses on the very same examples, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.trainers.losses.samples import Samples


@dataclass(frozen=True)
class PairedDifference:
    r"""How much one model's mean loss exceeds another's.

    With per-example sums :math:`S_e`, counts :math:`n_e` and :math:`d_e = S_e(\theta) - S_e(\theta')` on the very same
    examples, the difference of the means is :math:`D = \sum_e d_e / \sum_e n_e`, a ratio estimate with

    .. math:: SE^2 = \frac{E}{E - 1} \frac{\sum_e (d_e - D\, n_e)^2}{(\sum_e n_e)^2}

    over the E examples that have a labelled sample. Examples, not samples, are the independent units: the pairs of one
    list share its items.

    Attributes:
        difference: D, in units of the loss; NaN where there is no labelled sample.
        standard_error: SE, likewise.
        reference: The other model's mean loss.
    """

    difference: float
    standard_error: float
    reference: float

    @classmethod
    def of_moments(cls, moments: Sequence[float]) -> PairedDifference:
        """From what :func:`moments` gives, summed over workers."""
        examples, n, d, dd, dn, nn, reference = moments
        n = n or math.nan  # nobody labelled the task on this split: nothing can be said
        difference = d / n
        squares = max(0.0, dd - 2 * difference * dn + difference**2 * nn)
        error = (squares * examples / max(1.0, examples - 1)) ** 0.5 / n
        return cls(difference, error, reference / n)

    @classmethod
    def between(cls, candidate: Samples, reference: Samples) -> PairedDifference:
        """Of samples that are all here, in the same order."""
        return cls.of_moments(moments(candidate, reference).tolist())


def moments(candidate: Samples, reference: Samples) -> Tensor:
    """Sums over examples from which :class:`PairedDifference` is made; those of several workers add up.

    Args:
        candidate: Samples of a model, shape ``(examples,)``.
        reference: Samples of another one, of the same examples in the same order.

    Returns:
        Seven numbers in double precision: examples with a sample, Σn, Σd, Σd², Σdn, Σn², Σ of the reference.
    """
    d = candidate.sums.double() - reference.sums.double()
    n = candidate.counts.double()
    return torch.stack(
        [
            (n > 0).double().sum(),
            n.sum(),
            d.sum(),
            (d * d).sum(),
            (d * n).sum(),
            (n * n).sum(),
            reference.sums.double().sum(),
        ]
    )
