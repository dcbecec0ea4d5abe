"""FAMO over all tasks, or inside the constrained stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainers.methods.torchjd import torchjd
from trainers.multipliers import Multipliers
from trainers.workers.pending_losses import PendingLosses
from trainers.workers.process_group import world_size


class Famo:
    r"""Fast Adaptive Multitask Optimization (Liu et al. 2023), alone or within No More Tuning.

    FAMO descends :math:`\sum_i z_i \log D_i` with task weights z = softmax(w) that it learns, and gaps
    :math:`D_i = \ell_i - b_i`: its weights on the losses are :math:`c_i \propto z_i / D_i`. FAMO over
    :math:`[L_k, \lambda_i L_i]` would cancel λ, since d log(λL) = d log L. Inside a constrained stage FAMO therefore
    runs over the plain losses, and the step's weights are proportional to :math:`(\lambda_i c_i, \; c_k)`, normalised
    to sum to 1. λ still enforces the constraint; the *effective* multiplier :math:`\lambda_i c_i / c_k` is the shadow
    price. Where several tasks of equal priority are the objective, FAMO balances them too, and :math:`c_k` is the mean
    of their weights: what it settles at is a minimum of :math:`\sum_j (c_j / c_k) L_j`, whose price that is.

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

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        r"""The effective multipliers :math:`\lambda_i c_i / c_k`, with FAMO's present task weights z.

        c changes from step to step with the losses of the minibatch, z slowly. Losses of the whole split therefore
        give the c that the last steps had on average.
        """
        own = self._own_weights(losses.double())
        protected = len(multipliers)
        return multipliers * own[:protected] / own[protected:].mean()

    def state_dict(self) -> dict[str, Any]:
        """FAMO's logits w, the losses that its next update starts from, and the moments of its optimiser."""
        state: dict[str, Any] = {"logits": self._famo._w.detach().clone()}
        if self._famo._prev_losses is not None:
            state["previous_losses"] = self._famo._prev_losses.clone()
        if self._famo._optimizer is not None:
            (moments,) = self._famo._optimizer.state.values()
            state["moments"] = _copied(moments)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        logits = self._famo._w
        self._famo.reset()
        if "moments" in state:
            self._famo(torch.ones_like(logits))
            self._famo.update(torch.ones_like(logits))  # FAMO builds its optimiser at the first update
            optimizer = self._famo._optimizer
            optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: _copied(state["moments"])}})
        with torch.no_grad():
            logits.copy_(state["logits"])
        previous = state.get("previous_losses")
        self._famo._prev_losses = None if previous is None else previous.to(logits.device, copy=True)

    def weights(self, losses: Tensor) -> Tensor:
        """The step's weights on the losses, summing to 1, shape ``(tasks,)``.

        Args:
            losses: Global losses, shape ``(tasks,)``, protected tasks first.
        """
        own = self._own_weights(losses)
        self._famo._prev_losses = losses.detach().clone()  # the next update compares with these
        multipliers = torch.ones_like(own)
        multipliers[: len(self._multipliers.values)] = self._multipliers.values
        scaled = own * multipliers
        return scaled / scaled.sum()

    def _own_weights(self, losses: Tensor) -> Tensor:
        """c, FAMO's weights on the losses, up to a factor; nothing is noted for its update.

        A loss of 0 is that of a task which nobody labelled: z / D would give it all of the weight, and it has no
        gradient.
        """
        previous = self._famo._prev_losses
        with torch.enable_grad():
            values = losses.detach().requires_grad_()
            (own,) = torch.autograd.grad(self._famo(values), values)
        self._famo._prev_losses = previous
        return torch.where(losses != 0, own, 0.0)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
