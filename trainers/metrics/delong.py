"""The difference of two AUCs on the same rows, with DeLong's standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compare_auc(label: Tensor, score: Tensor, reference: Tensor) -> tuple[float, float, float]:
    r"""Compare the AUCs of two scores of the same rows.

    The AUC is the mean of the placements of the positive rows among the negative ones. With the placements
    :math:`V_{10}(x_i)` of P positive rows and :math:`V_{01}(y_j)` of N negative rows, and their differences d between
    the two scores, the variance of the difference of the AUCs is

    .. math:: \frac{S^2(d_{10})}{P} + \frac{S^2(d_{01})}{N}

    DeLong, DeLong and Clarke-Pearson 1988, equation 6, for the contrast (1, −1); the placements come from mid-ranks in
    :math:`O(n \log n)` (Sun and Xu 2014). A tie counts half.

    Args:
        label: 0 or 1, NaN where missing, shape ``(rows,)``.
        score: Scores of a model, shape ``(rows,)``.
        reference: Scores of another model, same shape.

    Returns:
        The AUC of ``score``, that of ``reference``, and the standard error of their difference. NaN where the labels
        are not of both classes, or a score is NaN.
    """
    labelled = ~label.isnan()
    label, both = label[labelled], torch.stack([score[labelled], reference[labelled]]).double()
    positive, negative = label == 1, label == 0
    if not (positive.any() and negative.any() and (positive | negative).all()) or both.isnan().any():
        return math.nan, math.nan, math.nan
    placements = [_placements(one, positive) for one in both]
    auc, other = (float(one[positive].mean()) for one in placements)
    difference = placements[0] - placements[1]
    variance = sum(_variance(difference[rows]) / int(rows.sum()) for rows in (positive, negative))
    return auc, other, math.sqrt(variance)


def _placements(score: Tensor, positive: Tensor) -> Tensor:
    """Share of the other class that a row stands on the right side of, ties half, shape ``(rows,)``."""
    ranks = _midranks(score)
    own = torch.empty_like(ranks)
    own[positive], own[~positive] = _midranks(score[positive]), _midranks(score[~positive])
    count = int(positive.sum())
    below = (ranks - own) / torch.where(positive, len(score) - count, count)
    return torch.where(positive, below, 1 - below)


def _midranks(score: Tensor) -> Tensor:
    """Ranks from 1, the mean rank for ties."""
    _, inverse, counts = score.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks: Tensor = (last - (counts.double() - 1) / 2)[inverse]
    return ranks


def _variance(values: Tensor) -> float:
    return float(values.var()) if len(values) > 1 else math.nan
