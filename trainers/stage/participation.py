"""Which parameters take part in a stage: those that its losses reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.frozen_buffers import frozen_buffers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.spec.task import Task


@contextmanager
def participating(learner: Learner, batch: Batch, tasks: Sequence[Task]) -> Iterator[None]:
    """Freeze, for the time of a stage, the parameters that none of its tasks reaches.

    Towers of later tasks get no gradient in stage 1, nor do gates that nobody reads; ``DistributedDataParallel`` raises
    on such parameters, and a momentum optimiser has no business with them. One forward and backward pass over ``batch``
    finds them; the finding is a property of the graph, so every worker finds the same, even with an empty batch.

    Args:
        learner: The model and its losses.
        batch: Any minibatch.
        tasks: The stage's tasks, protected ones included.
    """
    parameters = learner.trainable()
    with frozen_buffers(learner.model):
        total = learner.losses(learner.model(batch), batch, tasks).sums.sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unreached = [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    for parameter in unreached:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in unreached:
            parameter.requires_grad_(True)
