"""Pairwise logistic loss of a score within lists (RankNet)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value
from nmt.trainers.losses.samples import Samples, count_with


def count_preferred_pairs(label: Tensor, batch: Batch) -> Tensor:
    """Count the preferred pairs of each list; single precision, shape ``(examples, tasks)``."""
    return _preferred(label, batch).float().sum((1, 2))


@count_with(count_preferred_pairs)
def pairwise_logistic(output: Tensor, label: Tensor, batch: Batch) -> Samples:
    r"""Mean of :math:`\log(1 + \exp(-(s_i - s_j)))` over the pairs of a list whose first item is preferred.

    Item i is preferred to item j when both are labelled and :math:`y_i > y_j`. A sample is a pair; a list without a
    pair has no labelled sample. Rows without a query column form no pairs.

    Args:
        output: Scores s, shape ``(rows, tasks)`` or ``(rows, 1)`` when several tasks share one score.
        label: y, any real numbers, NaN where missing, shape ``(rows, tasks)``.
        batch: The minibatch; its lists are the queries.

    Raises:
        ValueError: The data has no query column, or the output has several values per row.
    """
    score, preferred = pairs(output, label, batch)
    losses = functional.softplus(score.unsqueeze(1) - score.unsqueeze(2))  # [e, i, j]: softplus(s_j - s_i)
    mask = preferred.to(losses.dtype)
    return Samples((losses * mask).sum((1, 2)), mask.sum((1, 2)))


def pairs(output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Pad lists to the longest, and compare the labels of all pairs.

    Returns:
        Scores, shape ``(examples, longest, tasks or 1)``; and a mask, shape ``(examples, longest, longest, tasks)``,
        whose entry ``[e, i, j, t]`` says whether task t prefers item i of list e to item j.

    Raises:
        ValueError: The data has no query column, or the output has several values per row.
    """
    preferred = _preferred(label, batch)
    output = require_one_value(output, label)
    assert batch.query is not None
    assert batch.position is not None
    score = output.new_zeros(batch.examples, batch.longest, output.shape[-1])
    return score.index_put((batch.query, batch.position), output), preferred


def _preferred(label: Tensor, batch: Batch) -> Tensor:
    if batch.query is None or batch.position is None:
        raise ValueError(
            "a pairwise loss or metric compares rows of one list, and this data set has no query column; "
            "name the column that groups rows when preparing the data"
        )
    padded = label.new_full((batch.examples, batch.longest, label.shape[-1]), float("nan"))
    padded[batch.query, batch.position] = label
    return padded.unsqueeze(2) > padded.unsqueeze(1)  # a comparison with NaN is false: no pair
