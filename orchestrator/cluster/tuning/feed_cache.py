"""The data feed that a process keeps from one trial to the next."""

from __future__ import annotations

import torch

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.open_feed import open_feed
from nmt.trainers.data.stream import StreamFeed
from nmt.trainers.spec.chain_spec import ChainSpec

_cache: dict[tuple[object, ...], MemoryFeed | StreamFeed] = {}


def cached_feed(spec: ChainSpec, folder: str, device: torch.device) -> MemoryFeed | StreamFeed:
    """Return the data feed of a trial with one worker: the previous trial's, where it is the same.

    Args:
        spec: What the trial computes.
        folder: Prepared folder.
        device: Device of the batches.
    """
    labels = tuple(task.label for task in spec.tasks)
    key = (spec.ingest, folder, spec.data_fingerprint, labels, spec.batch_size, spec.training.seed, str(device))
    if key not in _cache:
        _cache.clear()  # one at a time: `data.ingest` is chosen for the memory of one
        _cache[key] = open_feed(spec.ingest, folder, labels, spec.batch_size, spec.training.seed, device=device)
    return _cache[key]
