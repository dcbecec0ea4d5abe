"""Shared-Bottom: one trunk for all tasks, one tower per task (Caruana 1997)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.features import Features
from nmt.trainers.models.perceptron import perceptron
from nmt.trainers.models.sizes import check_units
from nmt.trainers.models.towers import Towers
from nmt.trainers.spec.task import Task


class SharedBottom(nn.Module):
    """Features → a multilayer perceptron with ReLU → one tower per task. The defaults are the paper's sizes.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        embedding_dim: Width of an embedding.
        bottom_units: Widths of the trunk.
        tower_units: Widths of a tower's hidden layers.

    Raises:
        ValueError: A size is out of range.
    """

    def __init__(
        self,
        schema: Schema,
        tasks: Sequence[Task],
        embedding_dim: int = 16,
        bottom_units: Sequence[int] = (512, 512, 512),
        tower_units: Sequence[int] = (128, 64),
    ) -> None:
        super().__init__()
        check_units("bottom_units", bottom_units)
        check_units("tower_units", tower_units)
        self._tasks = tuple(task.name for task in tasks)
        self.features = Features(schema, embedding_dim)
        self.bottom = perceptron(self.features.width, bottom_units)
        self.towers = Towers(len(tasks), [self.features.width, *bottom_units][-1], tower_units)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return task → logit, shape ``(rows,)``."""
        logits = self.towers(self.bottom(self.features(batch)))
        return dict(zip(self._tasks, logits.unbind(0), strict=True))
