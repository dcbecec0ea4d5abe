"""Arithmetic of a model's forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nmt.trainers.spec.settings import Precision


@contextmanager
def computing_in(precision: Precision, model: nn.Module) -> Iterator[None]:
    """For the time of a chain, run the model's forward passes in this precision, wherever they are called.

    ``bf16`` is automatic mixed precision: matrix products in bfloat16, parameters, their gradients and the optimiser's
    state in single precision. Losses and multipliers are computed outside, from outputs in single precision
    (:func:`~nmt.trainers.losses.task_losses.output_of`), so that optima, references and the steps' losses are measured
    in the same arithmetic. The model's names in a state are those without.

    Args:
        precision: ``fp32`` leaves the model as it is.
        model: The model, on its device.
    """
    if precision == "fp32":
        yield
        return
    device = next(model.parameters()).device.type
    plain = model.forward
    # An instance's own `forward` goes before the class's, also inside DistributedDataParallel.
    model.forward = torch.autocast(device, dtype=torch.bfloat16)(plain)
    try:
        yield
    finally:
        model.forward = plain
