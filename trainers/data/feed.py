"""What the stage loop needs of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from trainers.data.batch import Batch


class Feed(Protocol):
    """This worker's part of a data set.

    Every worker yields the same number of training batches, some perhaps empty, and together they yield each example
    once an epoch. The composition of global batches does not depend on the number of workers.

    Attributes:
        keeps_train: Whether a training example can be found again by its number, so that values of earlier levels can
            be kept for each of them and paired with its value now.
    """

    keeps_train: bool

    def examples(self, split: str) -> int:
        """Examples of a split, over all workers."""

    def steps_per_epoch(self, split: str = "train") -> int:
        """Global batches of one pass over a split."""

    def examples_in(self, steps: int) -> int:
        """Training examples in the first ``steps`` global batches of a stage, over all workers."""

    def epoch(self, stage: int, epoch: int, split: str = "train", start: int = 0) -> Iterator[Batch]:
        """This worker's part of each global batch of a shuffled pass over a split, from global batch ``start`` on.

        What lies before ``start`` is not materialised.
        """

    def scan(self, split: str) -> Iterator[Batch]:
        """This worker's examples of a split, in the order of their numbers."""
