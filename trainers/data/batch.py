"""A minibatch: this worker's part of one global batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of a minibatch, and how they form examples.

    An **example** is the unit of sampling: a row, or, when the data has a query column, a list of adjacent rows.

    Attributes:
        categorical: Ids, int64, shape ``(rows, categorical columns)``, columns in the schema's order.
        numeric: Raw values, float32, shape ``(rows, numeric columns)``; NaN where missing.
        packed: Packed bits, uint8, shape ``(rows, bytes of all packed columns)``.
        labels: float32, shape ``(rows, tasks)``, in the order of the chain's tasks; NaN where missing.
        index: Index of each example in its split, int64, shape ``(examples,)``.
        query: Example of each row, int64, shape ``(rows,)``, ascending from 0; ``None`` when a row is an example.
        position: Position of each row in its list, int64, shape ``(rows,)``; ``None`` when a row is an example.
        longest: Rows of the longest list; 1 when a row is an example.
    """

    categorical: Tensor
    numeric: Tensor
    packed: Tensor
    labels: Tensor
    index: Tensor
    query: Tensor | None = None
    position: Tensor | None = None
    longest: int = 1

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.index.shape[0]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.labels.shape[0]

    def part(self, low: int, high: int) -> Batch:
        """Return the examples from ``low`` to ``high`` (exclusive) as a minibatch of their own."""
        rows = slice(low, high)
        if self.query is not None:
            first, last = torch.searchsorted(self.query, torch.tensor([low, high], device=self.query.device)).tolist()
            rows = slice(first, last)
        return Batch(
            categorical=self.categorical[rows],
            numeric=self.numeric[rows],
            packed=self.packed[rows],
            labels=self.labels[rows],
            index=self.index[low:high],
            query=None if self.query is None else self.query[rows] - low,
            position=None if self.position is None else self.position[rows],
            longest=self.longest,
        )
