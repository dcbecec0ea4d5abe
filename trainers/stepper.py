"""One optimisation step of a stage, on θ and on λ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from trainers.data.batch import Batch
from trainers.losses.samples import Samples
from trainers.losses.task_losses import TaskLosses
from trainers.methods.method import Method
from trainers.multipliers import Multipliers
from trainers.optimizer import build_optimizer
from trainers.pending_losses import PendingLosses
from trainers.process_group import sum_over_workers, world_size
from trainers.task import Task
from trainers.training import Training
from trainers.violations import Violations


class Stepper:
    """One optimisation step: one forward pass, one backward pass, one all-reduce of gradients, one of the losses.

    Every worker's losses are divided by the counts of *all* workers, so the sum over workers of what each contributes
    is the global mean, and the gradient is that of the global objective. The losses are all-reduced
    during the backward pass.

    Args:
        model: The model; its participating parameters have ``requires_grad``.
        tasks: The stage's tasks, protected ones first.
        losses: The chain's losses.
        multipliers: The stage's multipliers.
        violations: Where their violations come from.
        method: How the gradient is made.
        training: Training options.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        losses: TaskLosses,
        multipliers: Multipliers,
        violations: Violations,
        method: Method,
        training: Training,
    ) -> None:
        averaged = world_size() > 1 and not method.reduces_gradients
        self._model: nn.Module = _averaging(model) if averaged else model
        self._method = method
        self._tasks = tuple(tasks)
        self._losses = losses
        self._multipliers = multipliers
        self._violations = violations
        self._measured = torch.zeros_like(multipliers.values)
        self._steps = 0
        self._restart = partial(build_optimizer, model, training)
        self._optimizer = self._restart(training.eta_theta)
        self._clip_norm = training.clip_norm
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def restart(self, rate: float) -> None:
        """Go on with a fresh optimiser of this learning rate."""
        self._optimizer = self._restart(rate)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take a step on θ and one on λ, from the same losses.

        Returns:
            The global losses, shape ``(tasks,)``, and the signed violations last measured, shape ``(protected,)``. No
            host synchronisation takes place.
        """
        samples, counts, contributions = self._contributions(batch)
        losses = PendingLosses(contributions)
        self._optimizer.zero_grad(set_to_none=True)
        self._method.backward(contributions, losses)
        global_losses = losses.values()
        due = len(self._measured) > 0 and self._steps % self._violations.every == 0
        if due:  # before θ moves: both updates use the same parameters
            self._measured = self._violations.measure(batch, samples, counts, global_losses)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
        if due:
            self._multipliers.ascend_by(self._measured * self._violations.every)
        self._method.observe(partial(self._losses_again, batch))
        self._steps += 1
        return global_losses, self._measured

    def _contributions(self, batch: Batch) -> tuple[Samples, Tensor, Tensor]:
        samples = self._losses(self._model(batch), batch, self._tasks)
        counts = sum_over_workers(samples.counts.sum(0, dtype=torch.float64))
        return samples, counts, samples.sums.sum(0) / counts.clamp(min=1).to(samples.sums.dtype)

    @torch.no_grad()
    def _losses_again(self, batch: Batch) -> Tensor:
        return PendingLosses(self._contributions(batch)[2]).values()


def _averaging(model: nn.Module) -> DistributedDataParallel:
    # Buffers are broadcast at every step; only running statistics need it, and most models here have none.
    running = any(isinstance(module, _NormBase) for module in model.modules())
    return DistributedDataParallel(model, broadcast_buffers=running)
