"""Area under the ROC curve."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics.classification import BinaryAUROC

from trainers.data.batch import Batch


class AUC(BinaryAUROC):
    """Exact AUC (no binning) of logits over the labelled rows of a split, over all workers."""

    def __init__(self) -> None:
        super().__init__(thresholds=None, validate_args=False)

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:  # type: ignore[override]
        """Add a minibatch: ``output`` of shape ``(rows,)``, ``label`` 0, 1 or NaN (missing)."""
        labelled = ~label.isnan()
        super().update(output[labelled], label[labelled].long())

    def compute(self) -> Any:
        """The AUC; 0 when only one class was seen."""
        return super().compute()
