"""Decoded examples on the host: what files give, and what minibatches are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.batch import Batch
from trainers.data.schema import Schema


@dataclass(frozen=True)
class Examples:
    """Some examples of a split, one after the other.

    Attributes:
        categorical: Ids, int32, shape ``(rows, categorical columns)``.
        numeric: float32, shape ``(rows, numeric columns)``; NaN where missing.
        packed: uint8, shape ``(rows, bytes of all packed columns)``.
        labels: float32, shape ``(rows, tasks)``; NaN where missing.
        index: Number of each example in its split, int64, shape ``(examples,)``.
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
        """Bytes of all arrays."""
        lengths = 0 if self.lengths is None else self.lengths.nbytes
        arrays = (self.categorical, self.numeric, self.packed, self.labels, self.index)
        return sum(array.nbytes for array in arrays) + lengths

    @property
    def longest(self) -> int:
        """Rows of the longest example; 1 when a row is an example, or there is none."""
        return 1 if self.lengths is None or not len(self) else int(self.lengths.max())

    def take(self, places: NDArray[np.int64]) -> Examples:
        """The examples at ``places``, in that order."""
        rows = places if self.lengths is None else rows_of_lists(self.lengths, places)
        return Examples(
            categorical=self.categorical.take(rows, axis=0),
            numeric=self.numeric.take(rows, axis=0),
            packed=self.packed.take(rows, axis=0),
            labels=self.labels.take(rows, axis=0),
            index=self.index[places],
            lengths=None if self.lengths is None else self.lengths[places],
        )

    def batch(self, device: torch.device) -> Batch:
        """The examples as a minibatch on ``device``."""
        query, position = (None, None) if self.lengths is None else members(torch.from_numpy(self.lengths))
        return Batch(
            categorical=_moved(torch.from_numpy(self.categorical), device),
            numeric=_moved(torch.from_numpy(self.numeric), device),
            packed=_moved(torch.from_numpy(self.packed), device),
            labels=_moved(torch.from_numpy(self.labels), device),
            index=_moved(torch.from_numpy(self.index), device),
            query=None if query is None else _moved(query, device),
            position=None if position is None else _moved(position, device),
            longest=self.longest,
        )


class Piece(NamedTuple):
    """A stretch of examples: from place ``first`` to ``last``, exclusive."""

    examples: Examples
    first: int
    last: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        lengths = self.examples.lengths
        if lengths is None:
            return slice(self.first, self.last)
        low = int(lengths[: self.first].sum())
        return slice(low, low + int(lengths[self.first : self.last].sum()))


def gather(pieces: Sequence[Piece]) -> Examples:
    """The examples of all pieces, at least one, in their order."""
    rows = [(piece.examples, piece.rows) for piece in pieces]
    lengths = [part.lengths[first:last] for part, first, last in pieces if part.lengths is not None]
    return Examples(
        categorical=np.concatenate([part.categorical[mine] for part, mine in rows]),
        numeric=np.concatenate([part.numeric[mine] for part, mine in rows]),
        packed=np.concatenate([part.packed[mine] for part, mine in rows]),
        labels=np.concatenate([part.labels[mine] for part, mine in rows]),
        index=np.concatenate([part.index[first:last] for part, first, last in pieces]),
        lengths=np.concatenate(lengths) if lengths else None,
    )


def no_examples(schema: Schema, tasks: int) -> Examples:
    """Nothing, in the shape of a data set with labels for ``tasks``."""
    return Examples(
        categorical=np.empty((0, len(schema.categorical)), dtype=np.int32),
        numeric=np.empty((0, len(schema.numeric)), dtype=np.float32),
        packed=np.empty((0, packed_bytes(schema)), dtype=np.uint8),
        labels=np.empty((0, tasks), dtype=np.float32),
        index=np.empty(0, dtype=np.int64),
        lengths=np.empty(0, dtype=np.int64) if schema.query else None,
    )


def row_bytes(schema: Schema, tasks: int) -> int:
    """Bytes that a row of a data set takes in memory, with labels for ``tasks``."""
    cells = len(schema.categorical) + len(schema.numeric) + tasks
    return 4 * cells + packed_bytes(schema) + 8  # the example's number


def packed_bytes(schema: Schema) -> int:
    """Bytes of all packed columns of a row."""
    return sum(-(-bits // 8) for bits in schema.packed.values())


def rows_of_lists(lengths: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the lists at ``places``, in that order, where ``lengths`` are those of all lists."""
    chosen = lengths[places]
    starts = np.cumsum(lengths) - lengths
    before = np.cumsum(chosen) - chosen
    rows: NDArray[np.int64] = np.arange(chosen.sum()) + np.repeat(starts[places] - before, chosen)
    return rows


def members(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row, its example and its place in it; int64, shape ``(rows,)``."""
    query = torch.repeat_interleave(lengths)
    starts = lengths.cumsum(0) - lengths
    return query, torch.arange(len(query), device=lengths.device) - starts[query]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On ``device``; a copy to a GPU goes on while the step before it computes."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
