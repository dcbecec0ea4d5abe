"""The feed of a worker: in memory or streamed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.stream import StreamFeed
from nmt.trainers.spec.chain_spec import Ingest


def open_feed(
    ingest: Ingest,
    folder: str,
    labels: Sequence[str],
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> MemoryFeed | StreamFeed:
    """Open a prepared data set.

    Args:
        ingest: ``memory`` keeps this worker's shard on the training device, ``stream`` reads it anew in every pass.
        folder: A prepared data set: a path, or the URI of a copy on another file system.
        labels: Label column of each task, in the order of the chain's tasks.
        batch_size: Examples of a global batch.
        seed: Seed of the training order.
        rank: This worker's rank.
        world_size: Number of workers.
        device: Device of the batches.

    Raises:
        FileNotFoundError: ``folder`` is not a prepared data set.
        ValueError: A file of it is damaged or missing.
    """
    feed = MemoryFeed if ingest == "memory" else StreamFeed
    return feed(folder, labels, batch_size, seed, rank, world_size, device)
