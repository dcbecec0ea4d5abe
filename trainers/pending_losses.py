"""Global losses of a minibatch while they are being all-reduced."""

from __future__ import annotations

from torch import Tensor

from trainers.process_group import sum_over_workers_later


class PendingLosses:
    """Starts the all-reduce at once, and waits for it when the values are asked for: the backward pass fits between.

    Args:
        contributions: This worker's part of each global mean loss, shape ``(tasks,)``.
    """

    def __init__(self, contributions: Tensor) -> None:
        self._values = contributions.detach().double()
        self._work = sum_over_workers_later(self._values)

    def values(self) -> Tensor:
        """The global losses, double, shape ``(tasks,)``."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._values
