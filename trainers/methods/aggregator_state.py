"""What a stateful aggregator of torchjd carries from call to call, as tensors and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def read_state(aggregator: nn.Module) -> dict[str, Tensor | float]:
    """Copies of all that an aggregator carries; empty for one without memory.

    Some of it are buffers (GradVac's targets, the averages of PCD and ExcessMTL), and some plain attributes (Nash-MTL's
    weights, steps of Nash-MTL and ExcessMTL), which no ``state_dict`` has. Every buffer and every number and array of a
    part that can be reset is taken, so that a new aggregator needs nothing here.

    Args:
        aggregator: An aggregator of torchjd.

    Returns:
        ``part.attribute`` → its value.
    """
    state: dict[str, Tensor | float] = {}
    for path, module in _stateful(aggregator):
        for name, value in _carried(module):
            if isinstance(value, Tensor):
                state[f"{path}.{name}"] = value.detach().clone()
            elif value is not None:
                state[f"{path}.{name}"] = torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
    return state


def write_state(aggregator: nn.Module, state: Mapping[str, Any]) -> None:
    """Give an aggregator such a state.

    Args:
        aggregator: One of the same class and options that was called at least once, on a Jacobian of the same shape,
            type and device as those to come: what it built from them stays.
        state: What :func:`read_state` returned.
    """
    for path, module in _stateful(aggregator):
        devices = [buffer.device for buffer in module._buffers.values() if buffer is not None]
        for name, value in _carried(module):
            saved = state.get(f"{path}.{name}")  # None: a buffer that was not filled yet
            if isinstance(value, np.ndarray):
                saved = state[f"{path}.{name}"].cpu().numpy().copy()
            elif isinstance(saved, Tensor):
                saved = saved.to(devices[0] if devices else saved.device, copy=True)
            setattr(module, name, saved)


def _stateful(aggregator: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts with a ``reset``, torchjd's mark of what has a state."""
    return ((path, module) for path, module in aggregator.named_modules() if hasattr(module, "reset"))


def _carried(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Buffers, ``None`` where one is not filled yet, then numbers and arrays."""
    yield from list(module._buffers.items())
    for name, value in list(vars(module).items()):
        if isinstance(value, int | float | np.ndarray) and not isinstance(value, bool):
            yield name, value
