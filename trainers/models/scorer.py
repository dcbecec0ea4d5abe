"""Scorer: one score per item, shared by all tasks, for ranking."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.features import Features
from nmt.trainers.models.perceptron import perceptron
from nmt.trainers.models.sizes import check_units
from nmt.trainers.spec.task import Task


class Scorer(nn.Module):
    """A multilayer perceptron with ReLU that maps a row's features to a single score.

    Every task reads the same score, as in the paper's search application: tasks compete for one ranking.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        embedding_dim: Width of an embedding.
        units: Widths of the hidden layers.

    Raises:
        ValueError: A size is out of range.
    """

    one_score = True

    def __init__(
        self, schema: Schema, tasks: Sequence[Task], embedding_dim: int = 16, units: Sequence[int] = (128, 64)
    ) -> None:
        super().__init__()
        check_units("units", units)
        self._tasks = tuple(task.name for task in tasks)
        self.features = Features(schema, embedding_dim)
        self.layers = perceptron(self.features.width, units)
        self.layers.append(nn.Linear([self.features.width, *units][-1], 1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return task → score, shape ``(rows,)``; the same tensor for every task."""
        score = self.layers(self.features(batch)).squeeze(1)
        return dict.fromkeys(self._tasks, score)
