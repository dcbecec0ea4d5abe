"""The data interface of the stage loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema


class Feed(Protocol):
    """This worker's part of a data set.

    Every worker yields the same number of training batches, some of them perhaps empty. Together the workers yield each
    example once per epoch. The composition of global batches does not depend on the number of workers.

    Attributes:
        schema: Columns and sizes of the data.
        shards_train_by_index: Whether worker r of W holds the training examples i with i mod W = r in every epoch.
            Per-example losses of earlier levels can then be kept and paired with the current ones.
    """

    schema: Schema
    shards_train_by_index: bool

    def examples(self, split: str) -> int:
        """Return the number of examples of a split, over all workers."""

    def steps_per_epoch(self, split: str = "train", share: float = 1.0) -> int:
        """Return the number of global batches in one pass over a split.

        Args:
            split: Which split.
            share: Size of a batch, as a share of the global batch size.
        """

    def examples_in(self, steps: int) -> int:
        """Return the number of training examples in a stage's first ``steps`` global batches, over all workers."""

    def epoch(
        self, stage: int, epoch: int, split: str = "train", start: int = 0, share: float = 1.0
    ) -> Iterator[Batch]:
        """Yield this worker's part of each global batch of a shuffled pass, from global batch ``start`` on.

        Batches before ``start`` are not built.
        """

    def scan(self, split: str) -> Iterator[Batch]:
        """Yield this worker's examples of a split in ascending order of their index."""


def share_of(batch_size: int, share: float) -> int:
    """Return the size of a batch that is a share of the global one; at least 1."""
    return max(1, round(batch_size * share))
