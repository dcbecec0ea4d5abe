"""A feed that keeps this worker's shard of every split in memory, on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.batch import Batch
from trainers.data.order import epoch_order
from trainers.data.prepared import read_schema
from trainers.data.schema import SPLITS, Schema

SCAN_EXAMPLES = 8192
"""Examples per batch of an evaluation pass over rows."""


class MemoryFeed:
    """Shards a prepared data set over workers: worker r of W holds the examples i with i mod W = r.

    Args:
        folder: A prepared data set.
        labels: Label column of each task, in the order of the chain's tasks.
        batch_size: Examples of a global batch.
        seed: Seed of the training order.
        rank: This worker's rank.
        world_size: Number of workers.
        device: Where tensors are kept.

    Raises:
        FileNotFoundError: ``folder`` is not a prepared data set.
    """

    def __init__(
        self,
        folder: str,
        labels: Sequence[str],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.schema = read_schema(folder)
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._device = torch.device(device)
        self._shards = {
            split: _load(Path(folder) / split, self.schema, labels, rank, world_size, self._device) for split in SPLITS
        }

    def examples(self, split: str) -> int:
        """Examples of a split, over all workers."""
        return self.schema.examples[split]

    def steps_per_epoch(self) -> int:
        """Global batches of one pass over the training split; the last one may be smaller."""
        return -(-self.examples("train") // self._batch_size)

    def examples_in(self, steps: int) -> int:
        """Training examples in the first ``steps`` global batches of a stage, over all workers."""
        epochs, rest = divmod(steps, self.steps_per_epoch())
        return epochs * self.examples("train") + rest * self._batch_size

    def epoch(self, stage: int, epoch: int, split: str = "train") -> Iterator[Batch]:
        """This worker's part of each global batch of a shuffled pass over a split."""
        examples = self.examples(split)
        order = epoch_order(examples, self._seed, stage, epoch)
        places = np.flatnonzero(order % self._world_size == self._rank)
        local = torch.from_numpy(order[places] // self._world_size).to(self._device)
        edges = np.arange(0, examples + self._batch_size, self._batch_size)
        for start, stop in pairwise(np.searchsorted(places, edges)):
            yield self._batch(split, local[start:stop])

    def scan(self, split: str) -> Iterator[Batch]:
        """This worker's examples of a split, in a fixed order."""
        shard = self._shards[split]
        size = SCAN_EXAMPLES if shard.offsets is None else max(1, SCAN_EXAMPLES // max(1, shard.longest))
        local = torch.arange(len(shard.index), device=self._device)
        for part in local.split(size) if len(local) else [local]:
            yield self._batch(split, part)

    def _batch(self, split: str, local: Tensor) -> Batch:
        shard = self._shards[split]
        query = position = None
        rows = local
        longest = 1
        if shard.offsets is not None:
            lengths = shard.lengths[local]
            query = torch.repeat_interleave(lengths)
            starts = lengths.cumsum(0) - lengths
            position = torch.arange(len(query), device=self._device) - starts[query]
            rows = shard.offsets[local][query] + position
            longest = shard.longest
        return Batch(
            categorical=shard.categorical[rows],
            numeric=shard.numeric[rows],
            packed=shard.packed[rows],
            labels=shard.labels[rows],
            index=shard.index[local],
            query=query,
            position=position,
            longest=longest,
        )


@dataclass(frozen=True)
class _Shard:
    categorical: Tensor
    numeric: Tensor
    packed: Tensor
    labels: Tensor
    index: Tensor
    offsets: Tensor | None
    lengths: Tensor
    longest: int


def _load(folder: Path, schema: Schema, labels: Sequence[str], rank: int, workers: int, device: torch.device) -> _Shard:
    """This worker's examples of one split; one file is held beside the shard at a time."""
    columns = [*([schema.query] if schema.query else []), *schema.features, *dict.fromkeys(labels)]
    parts: list[tuple[NDArray[Any], ...]] = []
    lengths: list[NDArray[np.int64]] = []
    index: list[NDArray[np.int64]] = []
    first = 0
    if not any(folder.glob("*.parquet")):
        raise FileNotFoundError(f"{folder} holds no Parquet file; prepare the data set again")
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=columns)
        sizes = _sizes(table, schema.query)
        example_of_row = np.repeat(np.arange(first, first + len(sizes)), sizes)
        table = table.filter(pa.array(example_of_row % workers == rank))
        examples = np.arange(first, first + len(sizes))
        mine = examples % workers == rank
        index.append(examples[mine])
        lengths.append(sizes[mine])
        parts.append(
            (
                _stack(table, tuple(schema.categorical), np.int32),
                _stack(table, tuple(schema.numeric), np.float32),
                _bytes(table, schema),
                _stack(table, labels, np.float32),
            )
        )
        _check_ids(parts[-1][0], schema, path)
        first += len(sizes)
    categorical, numeric, packed, values = (torch.from_numpy(np.concatenate(c)) for c in zip(*parts, strict=True))
    all_lengths = torch.from_numpy(np.concatenate(lengths))
    return _Shard(
        categorical=categorical.to(device),
        numeric=numeric.to(device),
        packed=packed.to(device),
        labels=values.to(device),
        index=torch.from_numpy(np.concatenate(index)).to(device),
        offsets=(all_lengths.cumsum(0) - all_lengths).to(device) if schema.query else None,
        lengths=all_lengths.to(device),
        longest=int(all_lengths.max()) if len(all_lengths) else 1,
    )


def _sizes(table: pa.Table, query: str | None) -> NDArray[np.int64]:
    """Rows of each example of a file."""
    if query is None:
        return np.ones(table.num_rows, dtype=np.int64)
    values = table[query].to_numpy()
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, dtype=np.int64)
    sizes: NDArray[np.int64] = np.diff(np.r_[starts, len(values)]).astype(np.int64)
    return sizes


def _stack(table: pa.Table, columns: Sequence[str], dtype: type) -> NDArray[Any]:
    block = np.empty((table.num_rows, len(columns)), dtype=dtype)
    for place, column in enumerate(columns):
        block[:, place] = table[column].to_numpy()
    return block


def _check_ids(ids: NDArray[Any], schema: Schema, path: Path) -> None:
    """An id out of range would read another column's embedding."""
    for place, (column, size) in enumerate(schema.categorical.items()):
        low, high = (int(ids[:, place].min()), int(ids[:, place].max())) if len(ids) else (0, 0)
        if low < 0 or high >= size:
            raise ValueError(
                f"{path}: column {column!r} holds ids from {low} to {high}, its vocabulary has 0 to {size - 1} "
                "(a null reads as a negative id); prepare the data set again"
            )


def _bytes(table: pa.Table, schema: Schema) -> NDArray[Any]:
    width = sum(-(-bits // 8) for bits in schema.packed.values())
    block = np.empty((table.num_rows, width), dtype=np.uint8)
    start = 0
    for column, bits in schema.packed.items():
        size = -(-bits // 8)
        data = b"".join(table[column].to_pylist())
        block[:, start : start + size] = np.frombuffer(data, dtype=np.uint8).reshape(table.num_rows, size)
        start += size
    return block
