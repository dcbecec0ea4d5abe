"""Decoded examples on the host, from which minibatches are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema


@dataclass(frozen=True)
class Examples:
    """A sequence of examples of one split.

    Attributes:
        categorical: Ids, int32, shape ``(rows, categorical columns)``.
        numeric: float32, shape ``(rows, numeric columns)``; NaN where missing.
        packed: uint8, shape ``(rows, bytes of all packed columns)``.
        labels: float32, shape ``(rows, tasks)``; NaN where missing.
        index: Index of each example in its split, int64, shape ``(examples,)``.
        lengths: Rows of each example, int64, shape ``(examples,)``; ``None`` when a row is an example.
    """

    categorical: NDArray[np.int32]
    numeric: NDArray[np.float32]
    packed: NDArray[np.uint8]
    labels: NDArray[np.float32]
    index: NDArray[np.int64]
    lengths: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        lengths = 0 if self.lengths is None else self.lengths.nbytes
        arrays = (self.categorical, self.numeric, self.packed, self.labels, self.index)
        return sum(array.nbytes for array in arrays) + lengths

    @property
    def longest(self) -> int:
        """Rows of the longest example; 1 when a row is an example, or when there are no examples."""
        return 1 if self.lengths is None or not len(self) else int(self.lengths.max())

    def take(self, positions: NDArray[np.int64]) -> Examples:
        """Return the examples at ``positions``, in that order."""
        rows = positions if self.lengths is None else rows_of_lists(self.lengths, positions)
        return Examples(
            categorical=self.categorical.take(rows, axis=0),
            numeric=self.numeric.take(rows, axis=0),
            packed=self.packed.take(rows, axis=0),
            labels=self.labels.take(rows, axis=0),
            index=self.index[positions],
            lengths=None if self.lengths is None else self.lengths[positions],
        )

    def to_batch(self, device: torch.device) -> Batch:
        """Return the examples as a minibatch on ``device``."""
        query, position = (None, None) if self.lengths is None else query_and_position(torch.from_numpy(self.lengths))
        return Batch(
            categorical=_to_device(torch.from_numpy(self.categorical), device),
            numeric=_to_device(torch.from_numpy(self.numeric), device),
            packed=_to_device(torch.from_numpy(self.packed), device),
            labels=_to_device(torch.from_numpy(self.labels), device),
            index=_to_device(torch.from_numpy(self.index), device),
            query=None if query is None else _to_device(query, device),
            position=None if position is None else _to_device(position, device),
            longest=self.longest,
        )


class Piece(NamedTuple):
    """A range of examples: positions ``first`` to ``last``, exclusive."""

    examples: Examples
    first: int
    last: int

    @property
    def rows(self) -> slice:
        """Rows of the range."""
        lengths = self.examples.lengths
        if lengths is None:
            return slice(self.first, self.last)
        low = int(lengths[: self.first].sum())
        return slice(low, low + int(lengths[self.first : self.last].sum()))


def gather(pieces: Sequence[Piece]) -> Examples:
    """Concatenate pieces, of which there must be at least one."""
    parts = [(piece.examples, piece.rows) for piece in pieces]
    lengths = [part.lengths[first:last] for part, first, last in pieces if part.lengths is not None]
    return Examples(
        categorical=np.concatenate([part.categorical[rows] for part, rows in parts]),
        numeric=np.concatenate([part.numeric[rows] for part, rows in parts]),
        packed=np.concatenate([part.packed[rows] for part, rows in parts]),
        labels=np.concatenate([part.labels[rows] for part, rows in parts]),
        index=np.concatenate([part.index[first:last] for part, first, last in pieces]),
        lengths=np.concatenate(lengths) if lengths else None,
    )


def empty_examples(schema: Schema, tasks: int) -> Examples:
    """Return zero examples, with the columns of a data set and labels for ``tasks`` tasks."""
    return Examples(
        categorical=np.empty((0, len(schema.categorical)), dtype=np.int32),
        numeric=np.empty((0, len(schema.numeric)), dtype=np.float32),
        packed=np.empty((0, packed_bytes(schema)), dtype=np.uint8),
        labels=np.empty((0, tasks), dtype=np.float32),
        index=np.empty(0, dtype=np.int64),
        lengths=np.empty(0, dtype=np.int64) if schema.query else None,
    )


def row_bytes(schema: Schema, tasks: int) -> int:
    """Return the bytes of a row in memory, with labels for ``tasks`` tasks."""
    cells = len(schema.categorical) + len(schema.numeric) + tasks
    return 4 * cells + packed_bytes(schema) + 8  # the example's index


def packed_bytes(schema: Schema) -> int:
    """Return the bytes of a row's packed columns."""
    return sum(-(-bits // 8) for bits in schema.packed.values())


def rows_of_lists(lengths: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row indices of some lists.

    Args:
        lengths: Rows of every list, shape ``(lists,)``.
        positions: Lists to select, in the order of the result.
    """
    selected = lengths[positions]
    starts = np.cumsum(lengths) - lengths
    before = np.cumsum(selected) - selected
    rows: NDArray[np.int64] = np.arange(selected.sum()) + np.repeat(starts[positions] - before, selected)
    return rows


def query_and_position(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the example of each row and its position in that example; both int64, shape ``(rows,)``."""
    query = torch.repeat_interleave(lengths)
    starts = lengths.cumsum(0) - lengths
    return query, torch.arange(len(query), device=lengths.device) - starts[query]


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to ``device``; a copy to a GPU overlaps with the step before."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
