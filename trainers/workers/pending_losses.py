"""Global losses of a minibatch while their all-reduce is under way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nmt.trainers.workers.process_group import start_sum_over_workers


class PendingLosses:
    """Starts the all-reduce in the constructor and waits for it when values are read: the backward pass overlaps it.

    There is one small all-reduce per step. It also carries the label counts of the next minibatch, by which that
    minibatch's losses are divided.

    Args:
        contributions: This worker's part of each global mean loss, shape ``(tasks,)``.
        next_counts: This worker's labelled samples of each task in the next minibatch, shape ``(tasks,)``, or empty,
            shape ``(0,)``.
    """

    def __init__(self, contributions: Tensor, next_counts: Tensor | None = None) -> None:
        values = contributions.detach().double()
        self._tasks = len(values)
        self._buffer = values if next_counts is None else torch.cat([values, next_counts.double()])
        self._work = start_sum_over_workers(self._buffer)

    def values(self) -> Tensor:
        """Return the global losses, double, shape ``(tasks,)``."""
        return self._wait()[: self._tasks]

    def next_counts(self) -> Tensor:
        """Return the next minibatch's labelled samples over all workers, double, shape ``(tasks,)`` or ``(0,)``."""
        return self._wait()[self._tasks :]

    def _wait(self) -> Tensor:
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._buffer


class PendingTerms(PendingLosses):
    """Combinations of pending losses, for a method that balances those.

    Args:
        losses: The losses.
        combine: Maps losses, shape ``(tasks,)``, to the terms.
    """

    def __init__(self, losses: PendingLosses, combine: Callable[[Tensor], Tensor]) -> None:
        self._losses = losses
        self._combine = combine

    def values(self) -> Tensor:
        """The global terms, double, shape ``(terms,)``."""
        return self._combine(self._losses.values())
