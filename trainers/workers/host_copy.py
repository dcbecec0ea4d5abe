"""Numbers on their way from the training device to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor in the host's memory, which the device makes when it gets there: nobody waits meanwhile.

    Args:
        values: What to copy, as it is after the work that the device has been given so far. It may be overwritten by
            work that is given later.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if not values.is_cuda:
            self._values = values.clone()
            return
        self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._values.copy_(values, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def arrived(self) -> bool:
        """Whether the numbers are there."""
        return self._event is None or self._event.query()

    def wait(self) -> Tensor:
        """The numbers, as soon as they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._values
