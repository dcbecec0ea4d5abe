"""Area under the ROC curve within each list."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value
from nmt.trainers.metrics.ratio import Ratio


class GroupedAUC(Ratio):
    r"""Mean AUC of the lists of a split, each weighted by its number of labelled rows, over all workers (GAUC).

    .. math:: \frac{\sum_g n_g \mathrm{AUC}_g}{\sum_g n_g}

    over the lists g (the rows of one query or user) with :math:`n_g` labelled rows of both classes; a list of one class
    has no AUC and does not count. The AUC of a list with :math:`P_g` positives is exact, and a tie counts half:

    .. math:: \mathrm{AUC}_g = \frac{\sum_{\text{positive } i} r_i - P_g (P_g + 1) / 2}{P_g (n_g - P_g)}

    with :math:`r_i` the rank of row i in its list, from 1 for the lowest score; equal scores share their mean rank.
    Deep Interest Network (Zhou et al., KDD 2018), eq. 10, with a list in place of a user.

    A worker holds whole lists, so only two sums are all-reduced. The retrieval metrics of torchmetrics would gather
    every row, loop over the lists and give each the same weight.
    """

    def parts(self, output: Tensor, label: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        r"""Return :math:`n_g \mathrm{AUC}_g` and :math:`n_g` of each list; ``label`` is 0, 1 or NaN (missing).

        Raises:
            ValueError: The data has no query column.
        """
        if batch.query is None:
            raise ValueError(
                "the metric grouped_auc compares rows of one list, and this data set has no query column; "
                "name the column that groups rows when preparing the data"
            )
        labelled = ~label.isnan()
        score = require_one_value(output, label)[labelled]
        positive, group = label[labelled].double(), batch.query[labelled]
        zeros = torch.zeros(batch.examples, dtype=torch.float64, device=label.device)
        rows = zeros.index_add(0, group, torch.ones_like(positive))
        positives = zeros.index_add(0, group, positive)
        ranks = _ranks(score, group) - (rows.cumsum(0) - rows)[group]  # all rows of earlier lists come first
        rank_sums = zeros.index_add(0, group, ranks * positive)
        pairs = positives * (rows - positives)
        auc = (rank_sums - positives * (positives + 1) / 2) / pairs
        defined = pairs > 0
        odd = score.isnan() | ((positive != 0) & (positive != 1))
        auc = auc.masked_fill(zeros.index_add(0, group, odd.double()) > 0, float("nan"))
        return torch.where(defined, rows * auc, 0.0), torch.where(defined, rows, 0.0)


def _ranks(score: Tensor, group: Tensor) -> Tensor:
    """Rank rows from 1 by group, then by score within the group; ties share their mean rank. O(n log n)."""
    values, value = score.unique(return_inverse=True)
    _, key, equal = (group * len(values) + value).unique(return_inverse=True, return_counts=True)
    ranks: Tensor = equal.cumsum(0) - (equal.double() - 1) / 2
    return ranks[key]
