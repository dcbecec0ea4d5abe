"""A feed that keeps this worker's shard of every split in memory, on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.examples import Piece, empty_examples, gather, query_and_position
from nmt.trainers.data.feed import share_of
from nmt.trainers.data.order import epoch_order
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.data.split import Split

SCAN_ROWS = 8192
"""Most rows of an evaluation batch; lists count as padded to the longest."""


class MemoryFeed:
    """Worker r of W holds the examples i of each split with i mod W = r.

    Args:
        folder: A prepared data set: a path, or the URI of a copy on another file system.
        labels: Label column of each task, in the order of the chain's tasks.
        batch_size: Examples of a global batch.
        seed: Seed of the training order.
        rank: This worker's rank.
        world_size: Number of workers.
        device: Device of the shard.

    Raises:
        FileNotFoundError: ``folder`` is not a prepared data set.
        ValueError: A file of it is damaged or missing.
    """

    shards_train_by_index = True

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
            split: _load(Split(folder, split, self.schema, labels), self.schema, labels, rank, world_size, self._device)
            for split in SPLITS
        }

    def examples(self, split: str) -> int:
        """Return the number of examples of a split, over all workers."""
        return self.schema.examples[split]

    def steps_per_epoch(self, split: str = "train", share: float = 1.0) -> int:
        """Return the number of global batches in one pass over a split; the last one may be smaller."""
        return -(-self.examples(split) // share_of(self._batch_size, share))

    def examples_in(self, steps: int) -> int:
        """Return the number of training examples in a stage's first ``steps`` global batches, over all workers."""
        epochs, rest = divmod(steps, self.steps_per_epoch())
        return epochs * self.examples("train") + rest * self._batch_size

    def epoch(
        self, stage: int, epoch: int, split: str = "train", start: int = 0, share: float = 1.0
    ) -> Iterator[Batch]:
        """Yield this worker's part of each global batch of a shuffled pass, from global batch ``start`` on."""
        examples = self.examples(split)
        order = epoch_order(examples, self._seed, stage, epoch)
        positions = np.flatnonzero(order % self._world_size == self._rank)
        local = torch.from_numpy(order[positions] // self._world_size).to(self._device)
        size = share_of(self._batch_size, share)
        edges = np.arange(start * size, examples + size, size)
        for low, high in pairwise(np.searchsorted(positions, edges)):
            yield self._batch(split, local[low:high])

    def scan(self, split: str) -> Iterator[Batch]:
        """Yield this worker's examples of a split in ascending order of their index."""
        shard = self._shards[split]
        size = SCAN_ROWS if shard.offsets is None else max(1, SCAN_ROWS // max(1, shard.longest))
        local = torch.arange(len(shard.index), device=self._device)
        for part in local.split(size) if len(local) else [local]:
            yield self._batch(split, part)

    def _batch(self, split: str, local: Tensor) -> Batch:
        shard = self._shards[split]
        query = position = None
        rows = local
        longest = 1
        if shard.offsets is not None and shard.lengths is not None:
            query, position = query_and_position(shard.lengths[local])
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
    lengths: Tensor | None
    longest: int


def _load(split: Split, schema: Schema, labels: Sequence[str], rank: int, workers: int, device: torch.device) -> _Shard:
    """Read this worker's examples of one split and copy them to ``device``."""
    parts = [split.read(unit, rank, workers) for unit in split.units]
    examples = gather([Piece(part, 0, len(part)) for part in parts or [empty_examples(schema, len(labels))]])
    lengths = None if examples.lengths is None else torch.from_numpy(examples.lengths)
    return _Shard(
        categorical=torch.from_numpy(examples.categorical).to(device),
        numeric=torch.from_numpy(examples.numeric).to(device),
        packed=torch.from_numpy(examples.packed).to(device),
        labels=torch.from_numpy(examples.labels).to(device),
        index=torch.from_numpy(examples.index).to(device),
        offsets=None if lengths is None else (lengths.cumsum(0) - lengths).to(device),
        lengths=None if lengths is None else lengths.to(device),
        longest=examples.longest,
    )
