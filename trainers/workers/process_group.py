"""Collectives over the process group; without one, a group of a single worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_POLL_SECONDS = 5.0
"""Time between the collectives of workers that wait for the first one; far below the timeout of the process group."""


def rank() -> int:
    """Return this worker's rank; 0 without a process group."""
    return dist.get_rank() if _is_initialized() else 0


def world_size() -> int:
    """Return the number of workers; 1 without a process group."""
    return dist.get_world_size() if _is_initialized() else 1


def sum_over_workers(tensor: Tensor) -> Tensor:
    """All-reduce ``tensor`` in place and return it; the result is bit-identical on every worker."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def start_sum_over_workers(tensor: Tensor) -> dist.Work | None:
    """Start an all-reduce of ``tensor`` in place.

    Returns:
        Work to ``wait()`` for before ``tensor`` is read; ``None`` when there is nothing to wait for.
    """
    return dist.all_reduce(tensor, async_op=True) if world_size() > 1 else None


def broadcast_object(value: T) -> T:
    """Return the first worker's value on every worker: for decisions that must not differ between workers."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: T) -> list[T]:
    """Return every worker's value, by rank, on every worker."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def run_on_first_worker(task: Callable[[], None]) -> None:
    """Run ``task`` on the first worker while the others wait.

    The others wait in short collectives, so that slow storage does not run into the timeout of the process group.

    Raises:
        Exception: The error that ``task`` raised, on every worker.
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
            thread.join(_POLL_SECONDS)
        finished, error = broadcast_object((not thread.is_alive(), failure[0] if failure else None))
        if finished:
            break
    if error is not None:
        raise error


def interleave_on_first_worker(local: Tensor, total: int) -> Tensor | None:
    """Gather per-example values of a whole split on the first worker, in the order of the examples.

    Args:
        local: This worker's values, shape ``(examples of this worker, …)``; worker r of W holds example i when
            i mod W = r.
        total: Number of examples in the split.

    Returns:
        On the host, shape ``(total, …)``; ``None`` on the other workers.
    """
    if world_size() == 1:
        return local.cpu()
    size = -(-total // world_size())
    padded = torch.zeros(size, *local.shape[1:], dtype=local.dtype, device=local.device)
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return torch.stack(parts, 1).flatten(0, 1)[:total].cpu() if rank() == 0 else None


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
