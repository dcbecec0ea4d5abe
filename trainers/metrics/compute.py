"""Computation of several metrics over all workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from nmt.trainers.workers.process_group import gather_objects, world_size


def compute_metrics(metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """Compute metrics over all workers, with one exchange for all of them; every worker must call this.

    torchmetrics would exchange each state of each metric on its own, with a barrier and an exchange of sizes: 384
    collectives for 64 AUCs.

    Args:
        metrics: Name → a metric updated with this worker's part; not to be used afterwards.

    Returns:
        Name → value, the same on every worker.
    """
    several = world_size() > 1
    received = _gather_states(metrics) if several else iter(())

    def next_state(state: Tensor, group: Any = None) -> list[Tensor]:
        return [part.to(state.device) for part in next(received)]

    values = {}
    for name, metric in metrics.items():
        metric.dist_sync_fn = next_state
        metric.distributed_available_fn = lambda: several
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torchmetrics")
            values[name] = metric.compute()
    return values


def _gather_states(metrics: Mapping[str, Metric]) -> Iterator[tuple[Tensor, ...]]:
    """Gather each state from all workers, by rank, in the order in which the metrics sync their states."""
    mine: list[Tensor] = []

    def record(state: Tensor, group: Any = None) -> list[Tensor]:
        mine.append(state.cpu())
        return [state]

    for metric in metrics.values():
        metric.sync(dist_sync_fn=record, distributed_available=lambda: True)
        metric.unsync()
    return zip(*gather_objects(mine), strict=True)
