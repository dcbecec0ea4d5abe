"""Area under the ROC curve."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.output_shape import require_one_value


class AUC(Metric):
    """Exact AUC (no binning) of real-valued scores over the labelled rows of a split, over all workers.

    torchmetrics interprets the scores of a batch as probabilities if all of them lie in [0, 1], and else applies a
    sigmoid: scales get mixed, and large logits become equal. The AUC depends on ranks alone, so torchmetrics gets the
    ranks of all scores.
    """

    full_state_update = False
    outputs: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("outputs", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:
        """Add a minibatch: ``output`` of shape ``(rows,)``, ``label`` 0, 1 or NaN (missing)."""
        labelled = ~label.isnan()
        self.outputs.append(require_one_value(output, label)[labelled])
        self.labels.append(label[labelled])

    def compute(self) -> Tensor:
        """Return the AUC; NaN unless the labels are 0 and 1, with both present, and no score is NaN."""
        outputs, labels = dim_zero_cat(self.outputs), dim_zero_cat(self.labels)
        positive, negative = labels == 1, labels == 0
        both_and_no_other = positive.any() and negative.any() and (positive | negative).all()
        if not both_and_no_other or outputs.isnan().any():
            return torch.tensor(float("nan"), device=labels.device)
        values, ranks = outputs.unique(return_inverse=True)
        return binary_auroc(ranks.double() / max(1, len(values) - 1), positive.long(), validate_args=False)
