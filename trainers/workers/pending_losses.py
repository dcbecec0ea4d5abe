"""Global losses of a minibatch while they are being all-reduced."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.workers.process_group import sum_over_workers_later


class PendingLosses:
    """Starts the all-reduce at once, and waits for it when the values are asked for: the backward pass fits between.

    One small all-reduce a step: the labelled samples of the next minibatch, which divide its losses, travel along.

    Args:
        contributions: This worker's part of each global mean loss, shape ``(tasks,)``.
        next_counts: This worker's labelled samples of each task in the next minibatch, shape ``(tasks,)``, or of none,
            shape ``(0,)``.
    """

    def __init__(self, contributions: Tensor, next_counts: Tensor | None = None) -> None:
        values = contributions.detach().double()
        self._tasks = len(values)
        self._buffer = values if next_counts is None else torch.cat([values, next_counts.double()])
        self._work = sum_over_workers_later(self._buffer)

    def values(self) -> Tensor:
        """The global losses, double, shape ``(tasks,)``."""
        return self._arrived()[: self._tasks]

    def next_counts(self) -> Tensor:
        """Labelled samples of the next minibatch over all workers, double, shape ``(tasks,)`` or ``(0,)``."""
        return self._arrived()[self._tasks :]

    def _arrived(self) -> Tensor:
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._buffer
