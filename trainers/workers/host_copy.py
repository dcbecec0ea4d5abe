"""Asynchronous copies from the training device to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor in host memory, queued on the device: the host does not wait for it.

    Args:
        values: The tensor to copy, after all work queued so far. Work queued later may overwrite it.
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

    def is_ready(self) -> bool:
        """Whether the copy has finished."""
        return self._event is None or self._event.query()

    def wait(self) -> Tensor:
        """Wait for the copy and return it."""
        if self._event is not None:
            self._event.synchronize()
        return self._values
