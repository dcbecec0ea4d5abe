"""One optimisation step of a stage, on θ and on λ."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.frozen_buffers import frozen_buffers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.faults import NonFiniteStepError
from nmt.trainers.losses.samples import Samples
from nmt.trainers.methods.method import Method
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.numerical_checks import are_finite, check_multipliers, check_step
from nmt.trainers.stage.optimizer import build_optimizer
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent
from nmt.trainers.workers.pending_losses import PendingLosses, PendingTerms
from nmt.trainers.workers.process_group import sum_over_workers, world_size


class Stepper:
    """One optimisation step: one forward pass, one backward pass, one all-reduce of gradients, one of the losses.

    Every worker's losses are divided by the counts of *all* workers, so the sum over workers of what each contributes
    is the global mean, and the gradient is that of the global objective. The losses are all-reduced during the backward
    pass, together with the counts of the minibatch that comes next.

    Args:
        learner: The model, its data and its losses; participating parameters have ``requires_grad``.
        spec: The stage.
        terms: What its method balances.
        ascent: The stage's multipliers, and where their violations come from.
        method: How the gradient is made.
        checked: Whether every step is checked for numbers that are not finite before θ moves. Otherwise a step only
            raises a flag on the device, for :meth:`verify`.
    """

    def __init__(
        self,
        learner: Learner,
        spec: StageSpec,
        terms: Terms,
        ascent: Ascent,
        method: Method,
        checked: bool = True,
    ) -> None:
        self._averaged = world_size() > 1 and not method.reduces_gradients
        self._learner = learner
        model = learner.model
        self._model: nn.Module = _averaging(model) if self._averaged else model
        if spec.execution.compile:
            self._model = _compiled(self._model)
        self._method = method
        self._tasks = spec.tasks
        self._terms = terms
        self._losses = learner.losses
        self._multipliers = multipliers = ascent.multipliers
        self._violations = ascent.violations
        self._measured = torch.zeros_like(multipliers.values)
        self._next: tuple[Batch, Tensor] | None = None
        self._steps = 0
        self._restart = partial(build_optimizer, model, spec.settings)
        self._optimizer = self._restart(spec.settings.eta_theta)
        self._clip_norm = spec.settings.clip_norm
        self._parameters = learner.trainable()
        self._checked = checked
        self._suspect = torch.zeros((), dtype=torch.bool, device=multipliers.values.device)

    def restart(self, rate: float) -> None:
        """Go on with a fresh optimiser of this learning rate."""
        self._optimizer = self._restart(rate)

    def step(self, batch: Batch, following: Batch | None = None) -> tuple[Tensor, Tensor]:
        """Take a step on θ and one on λ, from the same losses.

        Args:
            batch: This worker's part of the global minibatch.
            following: Its part of the next one, if there is one.

        Returns:
            The global losses, shape ``(tasks,)``, and the signed violations last measured, shape ``(protected,)``. No
            host synchronisation takes place, unless steps are checked.

        Raises:
            NumericalError: Steps are checked, and a number is not finite.
        """
        counts = self._counts(batch)
        samples, contributions = self._contributions(batch, counts)
        losses = PendingLosses(contributions, None if following is None else self._local_counts(following))
        self._optimizer.zero_grad(set_to_none=True)
        self._method.backward(self._terms(contributions), PendingTerms(losses, self._terms))
        global_losses = losses.values()
        self._next = None if following is None else (following, losses.next_counts())
        due = len(self._measured) > 0 and self._steps % self._violations.every == 0
        if due:  # before θ moves: both updates use the same parameters
            self._measured = self._violations.measure(batch, samples, counts, global_losses)
        if self._checked:
            check_step(self._steps + 1, global_losses, samples, batch, self._learner, self._tasks)
        else:
            self._suspect |= ~are_finite(global_losses, self._parameters)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
        if due:
            self._multipliers.ascend_by(self._measured, times=self._violations.every)
            if self._checked:
                check_multipliers(self._steps + 1, self._multipliers, self._measured)
            else:
                self._suspect |= ~(self._multipliers.values.isfinite() & self._measured.isfinite()).all()
        self._method.observe(partial(self._losses_again, batch, counts))
        self._steps += 1
        return global_losses, self._measured

    def verify(self) -> None:
        """Look whether all steps so far were finite.

        Raises:
            NonFiniteStepError: One was not; on every worker alike.
        """
        if self._suspect:
            raise NonFiniteStepError

    def state_dict(self) -> dict[str, Any]:
        """What steps carry on, beside θ: the optimiser, λ, the method, and what was measured last."""
        return {
            "steps": self._steps,
            "optimizer": self._optimizer.state_dict(),
            "multipliers": self._multipliers.state_dict(),
            "method": self._method.state_dict(),
            "measured": self._measured,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, of the same stage."""
        self._steps = state["steps"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._multipliers.load_state_dict(state["multipliers"])
        self._method.load_state_dict(state["method"])
        self._measured = state["measured"].to(self._measured.device)
        self._violations.skip(-(-self._steps // self._violations.every))

    def _counts(self, batch: Batch) -> Tensor:
        """Labelled samples of each task over all workers, double, shape ``(tasks,)``."""
        if self._next is not None and self._next[0] is batch:
            return self._next[1]
        return sum_over_workers(self._local_counts(batch))

    def _local_counts(self, batch: Batch) -> Tensor:
        return self._losses.counts(batch, self._tasks).sum(0, dtype=torch.float64)

    def _contributions(self, batch: Batch, counts: Tensor) -> tuple[Samples, Tensor]:
        samples = self._losses(self._model(batch), batch, self._tasks)
        return samples, samples.sums.sum(0) / counts.clamp(min=1).to(samples.sums.dtype)

    @torch.no_grad()
    def _losses_again(self, batch: Batch, counts: Tensor) -> Tensor:
        return self._terms(PendingLosses(self._contributions(batch, counts)[1]).values())

    def settle(self, probe: Batch) -> None:
        """Let DistributedDataParallel find its buckets, which it does in its first backward pass; call before any step.

        How parameters lie in buckets decides the order in which three or more workers' gradients are added up. Settled
        before the first step, it is the same for a stage that goes on from a checkpoint as for one that was not
        disturbed.

        Args:
            probe: Any minibatch.
        """
        if not self._averaged:
            return
        with frozen_buffers(self._learner.model):
            for _ in range(2):  # the second pass rebuilds the buckets
                (self._losses(self._model(probe), probe, self._tasks).sums.sum() * 0.0).backward()
        for parameter in self._parameters:
            parameter.grad = None


def _compiled(model: nn.Module) -> nn.Module:
    # Which parameters take part differs from stage to stage, and each such set is a program of its own: those of the
    # stages before would use up the number that the compiler keeps before it gives up.
    torch.compiler.reset()
    return torch.compile(model, dynamic=True)  # type: ignore[return-value]


def _averaging(model: nn.Module) -> DistributedDataParallel:
    # Buffers are broadcast at every step; only running statistics need it, and most models here have none.
    running = any(isinstance(module, _NormBase) for module in model.modules())
    return DistributedDataParallel(model, broadcast_buffers=running)
