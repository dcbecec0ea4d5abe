"""A feed that reads its files as it goes: for data that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import torch

from trainers.data.batch import Batch
from trainers.data.examples import Piece, gather, no_examples, row_bytes
from trainers.data.lane_pass import LanePass
from trainers.data.lanes import Lanes, deal
from trainers.data.memory import SCAN_EXAMPLES
from trainers.data.prefetch import prefetched
from trainers.data.prepared import read_schema
from trainers.data.schema import SPLITS, Schema
from trainers.data.split import Split

BUFFER_BYTES = 1 << 30
"""Memory, over all workers, that the lanes of a pass may fill; there are as many lanes as fit into it."""

UNITS_IN_MEMORY = 2
"""Units that a lane holds: one that it ends, and one that it begins."""


class StreamFeed:
    """Streams a prepared data set from its files; memory is bounded whatever the number of examples.

    The training split is dealt to lanes (:mod:`trainers.data.lanes`), worker r of W owns the lanes l with l mod W = r
    and reads no others. **The shuffle is approximate**: a global batch takes from every lane a few examples at random
    out of the two units that the lane is at; units follow each other in a random order. Two examples of one unit come
    closer together than in a full shuffle. Where the order of the files means much (time, users) and there are few
    lanes, mix the rows before they are prepared.

    There are at most :data:`trainers.data.lanes.NUMBERS` lanes, and no more than units, half the examples of a global
    batch or what fits into :data:`BUFFER_BYTES`. Where W does not divide their number, some workers have a lane more to
    do; more workers than lanes are correct but idle: theirs are empty batches.

    In the other splits, and in a scan of any, worker r holds the examples i with i mod W = r, as in a
    :class:`~trainers.data.memory.MemoryFeed`: every worker then decodes every file and keeps its share. Threads read
    the next units meanwhile.

    Args:
        folder: A prepared data set: a path, or the URI of a copy on another file system.
        labels: Label column of each task, in the order of the chain's tasks.
        batch_size: Examples of a global batch, on average over a pass.
        seed: Seed of the training order.
        rank: This worker's rank.
        world_size: Number of workers.
        device: Where batches are put.

    Raises:
        FileNotFoundError: ``folder`` is not a prepared data set.
        ValueError: A file of it is damaged or missing.
    """

    keeps_train = False

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
        self._nothing = no_examples(self.schema, len(labels))
        width = row_bytes(self.schema, len(labels))
        self._lanes = {name: _lanes(split, batch_size, width) for name, split in self._splits.items()}

    def examples(self, split: str) -> int:
        """Examples of a split, over all workers."""
        return self.schema.examples[split]

    def steps_per_epoch(self, split: str = "train") -> int:
        """Global batches of one pass over a split."""
        return self._lanes[split].steps

    def examples_in(self, steps: int) -> int:
        """Training examples in the first ``steps`` global batches of a stage, over all workers."""
        epochs, rest = divmod(steps, self.steps_per_epoch())
        return epochs * self.examples("train") + self._lanes["train"].examples_in(rest)

    def epoch(self, stage: int, epoch: int, split: str = "train", start: int = 0) -> Iterator[Batch]:
        """This worker's part of each global batch of a shuffled pass over a split, from global batch ``start`` on.

        Units that lie wholly before ``start`` are not read.

        Raises:
            ValueError: A file is damaged.
        """
        lanes = self._lanes[split]
        # The training split is shared by lanes, the others within them.
        own, shard = range(len(lanes.units)), (self._rank, self._world_size)
        if split == "train":
            own, shard = own[self._rank :: self._world_size], (0, 1)
        passes = {
            lane: LanePass(self._splits[split], lanes, lane, (self._seed, stage, epoch), start, *shard) for lane in own
        }
        needs = [(max(step, start), lane, unit) for lane, one in passes.items() for unit, step in one.needs().items()]
        reads = (partial(passes[lane].read, unit) for _, lane, unit in sorted(needs))
        with closing(prefetched(reads)) as units:
            for step in range(start, lanes.steps):
                found = [Piece(self._nothing, 0, 0)]
                for lane, one in passes.items():
                    found += one.advance(lanes.seen(lane, step + 1), units)
                yield gather(found).batch(self._device)

    def scan(self, split: str) -> Iterator[Batch]:
        """This worker's examples of a split, in the order of their numbers.

        Raises:
            ValueError: A file is damaged.
        """
        source = self._splits[split]
        reads = (partial(source.read, unit, self._rank, self._world_size) for unit in source.units)
        found = False
        with closing(prefetched(reads)) as units:
            for examples in units:
                size = max(1, SCAN_EXAMPLES // examples.longest)
                for first in range(0, len(examples), size):
                    found = True
                    part = Piece(examples, first, min(first + size, len(examples)))
                    yield gather([part]).batch(self._device)
        if not found:
            yield self._nothing.batch(self._device)


def _lanes(split: Split, batch_size: int, width: int) -> Lanes:
    """Lanes of a pass over a split.

    With at most half as many lanes as a batch has examples, none is empty: the longest lane gives one to each.
    """
    largest = max((unit.rows for unit in split.units), default=1) * width
    most = max(1, min(batch_size // 2, BUFFER_BYTES // (UNITS_IN_MEMORY * largest)))
    return deal([unit.examples for unit in split.units], most, -(-split.examples // batch_size))
