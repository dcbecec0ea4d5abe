"""Gradients of mean losses over many global batches, summed over all workers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from nmt.trainers.evaluation.frozen_buffers import frozen_buffers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.spec.task import Task
from nmt.trainers.workers.process_group import sum_over_workers


def full_gradients(learner: Learner, tasks: Sequence[Task], coefficients: Tensor, batches: int) -> Tensor:
    r"""Gradients of combinations of mean losses, :math:`\nabla_\theta \sum_i c_{ji} L_i` for each row j.

    :math:`L_i` is the mean over the labelled samples of the first ``batches`` global batches of the first epoch: the
    whole training split, or a random part of it that is the same for every stage and any number of workers. A batch
    takes a forward pass, in the mode of the steps, and a backward pass per row; the gradients of all workers are added
    up once, at the end. Buffers, ``.grad``, ``requires_grad`` and the model's mode are left as they were. Every worker
    calls this.

    Args:
        learner: The model, its data and its losses; parameters without ``requires_grad`` stay out.
        tasks: The tasks i.
        coefficients: :math:`c_{ji}`, shape ``(rows, tasks)``.
        batches: Global batches to measure, at most those of an epoch.

    Returns:
        Shape ``(rows, parameters)``: a row per combination, all parameters flattened, the same on every worker.
    """
    model, losses, parameters = learner.model, learner.losses, learner.trainable()
    scales = coefficients / _labelled(learner, tasks, batches).clamp(min=1)
    gradients = torch.zeros(
        len(scales), sum(parameter.numel() for parameter in parameters), dtype=_common_type(parameters)
    ).to(parameters[0].device)
    was_training = model.training
    model.train()
    try:
        with frozen_buffers(model), torch.enable_grad():
            for batch in islice(learner.feed.epoch(0, 0), batches):
                if batch.examples == 0:
                    continue
                sums = losses(model(batch), batch, tasks).sums.sum(0)
                combinations = (scales.to(sums) @ sums).unbind()
                for row, combination in enumerate(combinations):
                    found = torch.autograd.grad(
                        combination, parameters, retain_graph=row + 1 < len(combinations), materialize_grads=True
                    )
                    gradients[row] += torch.cat([gradient.flatten() for gradient in found])
    finally:
        model.train(was_training)
    return sum_over_workers(gradients)


def _labelled(learner: Learner, tasks: Sequence[Task], batches: int) -> Tensor:
    """Labelled samples of each task in the first global batches, over all workers; double, on the host."""
    first = islice(learner.feed.epoch(0, 0), batches)
    parts = [learner.losses.counts(batch, tasks).sum(0, dtype=torch.float64) for batch in first]
    return sum_over_workers(torch.stack(parts).sum(0)).cpu()


def _common_type(parameters: Sequence[Tensor]) -> torch.dtype:
    """Double precision where any parameter has it, otherwise single."""
    return torch.float64 if any(parameter.dtype == torch.float64 for parameter in parameters) else torch.float32
