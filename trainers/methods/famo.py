"""FAMO over all tasks, or inside the constrained stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.methods.torchjd import torchjd
from trainers.multipliers import Multipliers
from trainers.pending_losses import PendingLosses
from trainers.process_group import world_size


class Famo:
    r"""Fast Adaptive Multitask Optimization (Liu et al. 2023), alone or within No More Tuning.

    FAMO descends :math:`\sum_i z_i \log D_i` with task weights z = softmax(w) that it learns, and gaps
    :math:`D_i = \ell_i - b_i`: its weights on the losses are :math:`c_i \propto z_i / D_i`. FAMO over
    :math:`[L_k, \lambda_i L_i]` would cancel λ, since d log(λL) = d log L. Inside a constrained stage FAMO therefore
    runs over the plain losses, and the step's weights are proportional to :math:`(\lambda_i c_i, \; c_k)`, normalised
    to sum to 1. λ still enforces the constraint; the *effective* multiplier :math:`\lambda_i c_i / c_k` is the shadow
    price.

    FAMO's own update needs the losses of the same minibatch after the step: one more forward pass a step. All of its
    state is a function of global losses, so it is the same on every worker.

    Args:
        multipliers: The stage's multipliers; of no task when FAMO runs alone.
        tasks: Tasks of the stage, protected ones included.
    """

    reduces_gradients = False

    def __init__(self, multipliers: Multipliers, tasks: int) -> None:
        self._multipliers = multipliers
        self._famo: Any = torchjd("scalarization").FAMO(tasks).to(multipliers.values.device).double()

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Weigh by global losses, so that every worker weighs alike."""
        weights = self.weights(losses.values()).to(contributions.dtype)
        (weights @ contributions * world_size()).backward()

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Let FAMO learn its task weights from what the step did to each loss."""
        self._famo.update(measure())

    def weights(self, losses: Tensor) -> Tensor:
        """The step's weights on the losses, summing to 1, shape ``(tasks,)``.

        Args:
            losses: Global losses, shape ``(tasks,)``, protected tasks first.
        """
        with torch.enable_grad():
            values = losses.detach().requires_grad_()
            (own,) = torch.autograd.grad(self._famo(values), values)
        multipliers = torch.ones_like(own)
        multipliers[: len(self._multipliers.values)] = self._multipliers.values
        scaled = own * multipliers
        return scaled / scaled.sum()
