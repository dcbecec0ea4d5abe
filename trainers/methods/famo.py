"""FAMO over all tasks, or inside the constrained stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nmt.trainers.methods.torchjd import import_torchjd
from nmt.trainers.methods.torchjd_internals import famo_state, famo_weights, load_famo_state, set_famo_losses
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.workers.pending_losses import PendingLosses
from nmt.trainers.workers.process_group import world_size


class Famo:
    r"""Fast Adaptive Multitask Optimization (Liu et al. 2023), alone or within No More Tuning.

    FAMO descends :math:`\sum_i z_i \log D_i` with learned task weights z = softmax(w) and gaps
    :math:`D_i = \ell_i - b_i`. Its weights on the losses are :math:`c_i \propto z_i / D_i`.

    FAMO over :math:`[L_k, \lambda_i L_i]` would cancel λ, since d log(λL) = d log L. Inside a constrained stage FAMO
    therefore runs over the plain losses, and the weights of a step are proportional to
    :math:`(\lambda_i c_i, \; c_k)`, normalised to sum to 1. λ still enforces the constraint. The *effective* multiplier
    :math:`\lambda_i c_i / c_k` is the shadow price. FAMO also balances several objective tasks of equal priority;
    :math:`c_k` is then the mean of their weights. The method settles at a minimum of :math:`\sum_j (c_j / c_k) L_j`,
    and the shadow price refers to that sum.

    FAMO's own update needs the losses of the same minibatch after the step: one more forward pass per step. Its state
    is a function of global losses, so it is the same on every worker.

    Args:
        multipliers: The stage's multipliers; without tasks when FAMO runs alone.
        tasks: Number of tasks of the stage, protected tasks included.
    """

    reduces_gradients = False

    def __init__(self, multipliers: Multipliers, tasks: int) -> None:
        self._multipliers = multipliers
        self._famo: Any = import_torchjd("scalarization").FAMO(tasks).to(multipliers.values.device).double()

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Weight the contributions by global losses, so that the weights are the same on every worker."""
        weights = self.weights(losses.values()).to(contributions.dtype)
        (weights @ contributions * world_size()).backward()

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Update FAMO's task weights by the change of each loss in the step."""
        self._famo.update(measure())

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        r"""Return the effective multipliers :math:`\lambda_i c_i / c_k`, with FAMO's current task weights z.

        c changes at every step with the losses of the minibatch, z changes slowly. The losses of the whole split
        therefore give the average c of the last steps.
        """
        own = self._own_weights(losses.double())
        protected = len(multipliers)
        return multipliers * own[:protected] / own[protected:].mean()

    def state_dict(self) -> dict[str, Any]:
        """Return FAMO's logits w, the losses that its next update compares with, and the moments of its Adam."""
        return famo_state(self._famo)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state_dict` returned."""
        load_famo_state(self._famo, state)

    def weights(self, losses: Tensor) -> Tensor:
        """Return the step's weights on the losses, which sum to 1, shape ``(tasks,)``.

        Args:
            losses: Global losses, shape ``(tasks,)``, protected tasks first. FAMO's next update compares with them.
        """
        own = self._own_weights(losses)
        set_famo_losses(self._famo, losses)
        multipliers = torch.ones_like(own)
        multipliers[: len(self._multipliers.values)] = self._multipliers.values
        scaled = own * multipliers
        return scaled / scaled.sum()

    def _own_weights(self, losses: Tensor) -> Tensor:
        """Return c, FAMO's weights on the losses, up to a factor.

        A loss of 0 belongs to a task without labels in the minibatch. It has no gradient, and z / D would give it all
        of the weight; its weight is 0.
        """
        return torch.where(losses != 0, famo_weights(self._famo, losses), 0.0)
