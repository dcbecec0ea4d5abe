"""Which parameters take part in a stage: those that its losses reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from trainers.data.batch import Batch
from trainers.evaluation.frozen_buffers import frozen_buffers
from trainers.losses.task_losses import TaskLosses
from trainers.spec.task import Task


@contextmanager
def participating(model: nn.Module, batch: Batch, tasks: Sequence[Task], losses: TaskLosses) -> Iterator[None]:
    """Freeze, for the time of a stage, the parameters that none of its tasks reaches.

    Towers of later tasks get no gradient in stage 1, nor do gates that nobody reads; ``DistributedDataParallel`` raises
    on such parameters, and a momentum optimiser has no business with them. One forward and backward pass over ``batch``
    finds them; the finding is a property of the graph, so every worker finds the same, even with an empty batch.

    Args:
        model: The model.
        batch: Any minibatch.
        tasks: The stage's tasks, protected ones included.
        losses: The chain's losses.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with frozen_buffers(model):
        total = losses(model(batch), batch, tasks).sums.sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unreached = [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    for parameter in unreached:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in unreached:
            parameter.requires_grad_(True)
