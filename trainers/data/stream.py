"""A feed that streams its files, for data sets larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import torch

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.examples import Piece, empty_examples, gather, row_bytes
from nmt.trainers.data.feed import share_of
from nmt.trainers.data.lane_pass import LanePass
from nmt.trainers.data.lanes import Lanes, assign_units
from nmt.trainers.data.memory import SCAN_ROWS
from nmt.trainers.data.prefetch import prefetch
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.data.split import Split

BUFFER_BYTES = 1 << 30
"""Memory of all lanes of a pass, over all workers; it limits the number of lanes."""

UNITS_IN_MEMORY = 2
"""Units that a lane holds at a time: one that ends and one that begins."""


class StreamFeed:
    """Streams a prepared data set from its files; its memory does not grow with the number of examples.

    The units of the training split are assigned to lanes (:mod:`nmt.trainers.data.lanes`). Worker r of W owns the lanes
    l with l mod W = r and reads no others. **The shuffle is approximate**: a global batch takes a few random examples
    from each lane, out of the two units that the lane currently holds; the units of a lane are in random order. Two
    examples of one unit come closer together than in a full shuffle. If the order of the files carries information
    (time, users) and there are few lanes, shuffle the rows before preparing them.

    The number of lanes is one of :data:`nmt.trainers.data.lanes.LANE_COUNTS`. It is limited by the number of units, by
    half the examples of a global batch and by :data:`BUFFER_BYTES`. If W does not divide it, some workers have one lane
    more than others. Workers without a lane get empty batches; results are correct, but these workers are idle.

    In the other splits, and in every :meth:`scan`, worker r holds the examples i with i mod W = r, as in a
    :class:`~nmt.trainers.data.memory.MemoryFeed`: every worker decodes every file and keeps its share. Threads read
    ahead.

    Args:
        folder: A prepared data set: a path, or the URI of a copy on another file system.
        labels: Label column of each task, in the order of the chain's tasks.
        batch_size: Examples of a global batch, on average over a pass.
        seed: Seed of the training order.
        rank: This worker's rank.
        world_size: Number of workers.
        device: Device of the batches.

    Raises:
        FileNotFoundError: ``folder`` is not a prepared data set.
        ValueError: A file of it is damaged or missing.
    """

    shards_train_by_index = False

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
        self.schema: Schema = read_schema(folder)
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._device = torch.device(device)
        self._splits = {split: Split(folder, split, self.schema, labels) for split in SPLITS}
        self._empty = empty_examples(self.schema, len(labels))
        self._width = row_bytes(self.schema, len(labels))
        self._batch_size = batch_size
        self._assigned: dict[tuple[str, int], Lanes] = {}

    def examples(self, split: str) -> int:
        """Return the number of examples of a split, over all workers."""
        return self.schema.examples[split]

    def steps_per_epoch(self, split: str = "train", share: float = 1.0) -> int:
        """Return the number of global batches in one pass over a split."""
        return self._lanes(split, share).steps

    def examples_in(self, steps: int) -> int:
        """Return the number of training examples in a stage's first ``steps`` global batches, over all workers."""
        epochs, rest = divmod(steps, self.steps_per_epoch())
        return epochs * self.examples("train") + self._lanes("train").examples_in(rest)

    def epoch(
        self, stage: int, epoch: int, split: str = "train", start: int = 0, share: float = 1.0
    ) -> Iterator[Batch]:
        """Yield this worker's part of each global batch of a shuffled pass, from global batch ``start`` on.

        Units that lie entirely before ``start`` are not read.

        Raises:
            ValueError: A file is damaged.
        """
        lanes = self._lanes(split, share)
        # Workers share the training split lane by lane, and the other splits example by example.
        own, shard = range(len(lanes.units)), (self._rank, self._world_size)
        if split == "train":
            own, shard = own[self._rank :: self._world_size], (0, 1)
        passes = {
            lane: LanePass(self._splits[split], lanes, lane, (self._seed, stage, epoch), start, *shard) for lane in own
        }
        queue = [
            (max(step, start), lane, unit) for lane, one in passes.items() for unit, step in one.steps_by_unit().items()
        ]
        reads = (partial(passes[lane].read, unit) for _, lane, unit in sorted(queue))
        with closing(prefetch(reads)) as units:
            for step in range(start, lanes.steps):
                pieces = [Piece(self._empty, 0, 0)]
                for lane, one in passes.items():
                    pieces += one.advance(lanes.lane_examples(lane, step + 1), units)
                yield gather(pieces).to_batch(self._device)

    def scan(self, split: str) -> Iterator[Batch]:
        """Yield this worker's examples of a split in ascending order of their index.

        Raises:
            ValueError: A file is damaged.
        """
        source = self._splits[split]
        reads = (partial(source.read, unit, self._rank, self._world_size) for unit in source.units)
        found = False
        with closing(prefetch(reads)) as units:
            for examples in units:
                size = max(1, SCAN_ROWS // examples.longest)
                for first in range(0, len(examples), size):
                    found = True
                    part = Piece(examples, first, min(first + size, len(examples)))
                    yield gather([part]).to_batch(self._device)
        if not found:
            yield self._empty.to_batch(self._device)

    def _lanes(self, split: str, share: float = 1.0) -> Lanes:
        """Return the lanes of a pass over a split in batches of a share of the global batch size."""
        key = split, share_of(self._batch_size, share)
        if key not in self._assigned:
            self._assigned[key] = _assign(self._splits[split], key[1], self._width)
        return self._assigned[key]


def _assign(split: Split, batch_size: int, width: int) -> Lanes:
    """Assign the units of a split to lanes.

    With at most half as many lanes as a batch has examples, no batch is empty: the longest lane yields an example to
    each.
    """
    largest = max((unit.rows for unit in split.units), default=1) * width
    max_lanes = max(1, min(batch_size // 2, BUFFER_BYTES // (UNITS_IN_MEMORY * largest)))
    return assign_units([unit.examples for unit in split.units], max_lanes, -(-split.examples // batch_size))
