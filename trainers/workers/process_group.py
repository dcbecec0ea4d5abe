"""The process group as the trainers use it; without one, a group of a single worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_PATIENCE_SECONDS = 5.0
"""Time between two signs of life of a first worker that works alone; far below the time after which a worker is taken
for hung."""


def rank() -> int:
    """This worker's rank; 0 without a process group."""
    return dist.get_rank() if _is_up() else 0


def world_size() -> int:
    """Number of workers; 1 without a process group."""
    return dist.get_world_size() if _is_up() else 1


def sum_over_workers(tensor: Tensor) -> Tensor:
    """All-reduce ``tensor`` in place and return it; the result is bit-identical on every worker."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def sum_over_workers_later(tensor: Tensor) -> dist.Work | None:
    """Start to all-reduce ``tensor`` in place; ``wait()`` before reading it. ``None``: nothing to wait for."""
    return dist.all_reduce(tensor, async_op=True) if world_size() > 1 else None


def from_first_worker(value: T) -> T:
    """The first worker's value, on every worker: for decisions that must not differ between workers."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all_workers(value: T) -> list[T]:
    """Every worker's value, by rank, on every worker."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def done_by_first_worker(task: Callable[[], None]) -> None:
    """Run ``task`` on the first worker while the others wait for it.

    They wait by short collectives, so that a slow storage is not taken for a hung worker.

    Raises:
        Exception: What ``task`` raised, on every worker.
    """
    if world_size() == 1:
        task()
        return
    failure: list[Exception] = []

    def run() -> None:
        try:
            task()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="nmt-first-worker")
    if rank() == 0:
        thread.start()
    while True:
        if rank() == 0:
            thread.join(_PATIENCE_SECONDS)
        finished, error = from_first_worker((not thread.is_alive(), failure[0] if failure else None))
        if finished:
            break
    if error is not None:
        raise error


def interleave_on_first_worker(local: Tensor, total: int) -> Tensor | None:
    """Per-example values of the whole split, on the first worker; ``None`` on the others.

    Args:
        local: This worker's values, shape ``(examples of this worker, …)``; worker r of W holds example i when
            i mod W = r.
        total: Examples of the whole split.
    """
    if world_size() == 1:
        return local.cpu()
    size = -(-total // world_size())
    padded = torch.zeros(size, *local.shape[1:], dtype=local.dtype, device=local.device)
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, 1).flatten(0, 1)[:total].cpu() if rank() == 0 else None


def _is_up() -> bool:
    return dist.is_available() and dist.is_initialized()
