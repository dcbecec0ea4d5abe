"""Adapter to the internals of torchjd: state that its public interface neither returns nor restores.

torchjd's objects have a ``reset`` but no complete ``state_dict``. Every access to their private attributes is in this
file, and ``tests/trainers/methods/test_torchjd_internals.py`` fails when a new version changes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def famo_state(famo: Any) -> dict[str, Any]:
    """Return a copy of the state of ``torchjd.scalarization.FAMO``.

    Returns:
        ``logits``: w, shape ``(tasks,)``; ``previous_losses``: the losses that the next update compares with, if there
        are any; ``moments``: the state of FAMO's Adam, if it has made an update.
    """
    state: dict[str, Any] = {"logits": famo._w.detach().clone()}
    if famo._prev_losses is not None:
        state["previous_losses"] = famo._prev_losses.clone()
    if famo._optimizer is not None:
        (moments,) = famo._optimizer.state.values()
        state["moments"] = _clone(moments)
    return state


def load_famo_state(famo: Any, state: Mapping[str, Any]) -> None:
    """Restore a state that :func:`famo_state` returned; tensors are copied to FAMO's device."""
    logits = famo._w
    famo.reset()
    if "moments" in state:
        famo(torch.ones_like(logits))
        famo.update(torch.ones_like(logits))  # FAMO builds its Adam at the first update
        optimizer = famo._optimizer
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: _clone(state["moments"])}})
    with torch.no_grad():
        logits.copy_(state["logits"])
    previous = state.get("previous_losses")
    famo._prev_losses = None if previous is None else previous.to(logits.device, copy=True)


def set_famo_losses(famo: Any, losses: Tensor) -> None:
    """Set the losses that FAMO's next update compares with."""
    famo._prev_losses = losses.detach().clone()


def famo_weights(famo: Any, losses: Tensor) -> Tensor:
    """Return the gradient of FAMO's scalarization with respect to the losses, without changing FAMO's state.

    Args:
        famo: FAMO.
        losses: Shape ``(tasks,)``.

    Returns:
        Weights on the losses, shape ``(tasks,)``.
    """
    previous = famo._prev_losses
    with torch.enable_grad():
        values = losses.detach().requires_grad_()
        (weights,) = torch.autograd.grad(famo(values), values)
    famo._prev_losses = previous
    return weights


def aggregator_state(aggregator: nn.Module) -> dict[str, Tensor | float]:
    """Return a copy of an aggregator's state; empty for a stateless aggregator.

    Part of the state is in buffers (the targets of GradVac, the averages of PCD and ExcessMTL), part in plain
    attributes that no ``state_dict`` contains (the weights of Nash-MTL, the step counts of Nash-MTL and ExcessMTL).
    All buffers, numbers and arrays of every module with a ``reset`` are copied, so that further aggregators of torchjd
    need no code here.

    Args:
        aggregator: An aggregator of torchjd.

    Returns:
        ``module.attribute`` → value.
    """
    state: dict[str, Tensor | float] = {}
    for path, module in _stateful_modules(aggregator):
        for name, value in _state_attributes(module):
            if isinstance(value, Tensor):
                state[f"{path}.{name}"] = value.detach().clone()
            elif value is not None:
                state[f"{path}.{name}"] = torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
    return state


def load_aggregator_state(aggregator: nn.Module, state: Mapping[str, Any]) -> None:
    """Restore a state that :func:`aggregator_state` returned.

    Args:
        aggregator: An aggregator of the same class and options. It must have been called at least once, on a Jacobian
            of the same shape, dtype and device as later ones: what it builds on the first call stays.
        state: The state.
    """
    for path, module in _stateful_modules(aggregator):
        devices = [buffer.device for buffer in module._buffers.values() if buffer is not None]
        for name, value in _state_attributes(module):
            saved = state.get(f"{path}.{name}")  # None: a buffer that was still empty
            if isinstance(value, np.ndarray):
                saved = state[f"{path}.{name}"].cpu().numpy().copy()
            elif isinstance(saved, Tensor):
                saved = saved.to(devices[0] if devices else saved.device, copy=True)
            setattr(module, name, saved)


def _stateful_modules(aggregator: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules with a ``reset``, which torchjd gives to every stateful class."""
    return ((path, module) for path, module in aggregator.named_modules() if hasattr(module, "reset"))


def _state_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield buffers (``None`` while empty), then numbers and arrays."""
    yield from list(module._buffers.items())
    for name, value in list(vars(module).items()):
        if isinstance(value, int | float | np.ndarray) and not isinstance(value, bool):
            yield name, value


def _clone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
