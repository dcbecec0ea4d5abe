"""Gradient aggregators of torchjd (PCGrad, MGDA, CAGrad, Nash-MTL, UPGrad …), alone or in the constrained stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nmt.trainers.methods.torchjd import import_torchjd
from nmt.trainers.methods.torchjd_internals import aggregator_state, load_aggregator_state
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.registry import check_options, did_you_mean
from nmt.trainers.workers.pending_losses import PendingLosses
from nmt.trainers.workers.process_group import broadcast_object, sum_over_workers


class Aggregation:
    r"""Aggregates the Jacobian of the losses, one row per task, into one gradient.

    Inside the constrained stage the row of a task is scaled by the task's weight
    :math:`\lambda_i / (1 + \sum \lambda)`, that of the objective by :math:`1 / (1 + \sum \lambda)`. With torchjd's
    ``Sum`` this is No More Tuning itself. There is one backward pass per task. Rows are summed over the workers before
    they are aggregated, because the aggregate of sums is not the sum of aggregates.

    Several aggregators draw random numbers: PCGrad and GradVac the order of the tasks, GradDrop and Random the parts
    that they keep. All workers must draw the same numbers, or their parameters would diverge. The draws are therefore a
    function of the first worker's seed at construction and of the step. The worker's own random stream, which dropout
    uses, is not advanced.

    Args:
        name: A class of ``torchjd.aggregation``.
        multipliers: The stage's multipliers; without tasks when the aggregator runs alone.
        model: The model; its participating parameters have ``requires_grad``.
        tasks: Number of tasks of the stage; passed on as ``n_tasks`` to an aggregator that needs it.
        options: Keyword arguments of the aggregator.

    Raises:
        ImportError: torchjd is not installed.
        ValueError: torchjd has no such aggregator, or an option is unknown or missing.
    """

    reduces_gradients = True

    def __init__(
        self, name: str, multipliers: Multipliers, model: nn.Module, tasks: int, options: Mapping[str, Any]
    ) -> None:
        self._aggregator = build_aggregator(name, tasks, options)
        self._multipliers = multipliers
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._tasks = tasks
        self._seed = broadcast_object(torch.initial_seed())
        self._steps = 0

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Compute this worker's rows, sum them over the workers and aggregate them."""
        protected = len(self._multipliers.values)
        weights = self._multipliers.weights().to(contributions.dtype)
        rows = []
        for i, contribution in enumerate(contributions):
            gradients = torch.autograd.grad(
                contribution, self._parameters, retain_graph=i + 1 < len(contributions), materialize_grads=True
            )
            rows.append(torch.cat([g.flatten() for g in gradients]) * weights[min(i, protected)])
        jacobian = sum_over_workers(torch.stack(rows))
        gradient = self._aggregate(jacobian)
        self._steps += 1
        for parameter, part in zip(
            self._parameters, gradient.split([p.numel() for p in self._parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Do nothing."""

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        """Return λ itself; the ratio at which an aggregator really mixes the rows is not known."""
        return multipliers.clone()

    def state_dict(self) -> dict[str, Any]:
        """Return the seed and the step count, which determine the random draws, and the aggregator's own state."""
        return {"seed": self._seed, "steps": self._steps, "aggregator": aggregator_state(self._aggregator)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state_dict` returned."""
        self._seed, self._steps = state["seed"], state["steps"]
        if state["aggregator"]:
            # The aggregator builds keys, solvers and buffers on its first call, from the Jacobian's shape and device.
            flat = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
            self._aggregate(torch.eye(self._tasks, len(flat), dtype=flat.dtype, device=flat.device))
            load_aggregator_state(self._aggregator, state["aggregator"])

    def _aggregate(self, jacobian: Tensor) -> Tensor:
        with torch.random.fork_rng([jacobian.device] if jacobian.is_cuda else []):
            torch.manual_seed(hash((self._seed, self._steps)))
            gradient: Tensor = self._aggregator(jacobian)
            return gradient


def build_aggregator(name: str, tasks: int, options: Mapping[str, Any]) -> nn.Module:
    """Build an aggregator of torchjd: a module that maps a Jacobian, one row per task, to one gradient.

    Raises:
        ImportError: torchjd or a solver of the aggregator is not installed.
        ValueError: torchjd has no such aggregator, or an option is unknown, missing or out of range.
    """
    module = import_torchjd("aggregation")
    known = [key for key, value in vars(module).items() if isinstance(value, type) and not key.endswith("Weighting")]
    known = [key for key in known if key not in ("Aggregator", "WeightedAggregator", "GramianWeightedAggregator")]
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(f"torchjd has no aggregator {name!r}{hint}; it has {', '.join(sorted(known))}")
    component = getattr(module, name)
    check_options(f"aggregator {name!r}", component, options, ("self", "n_tasks"))
    given = {"n_tasks": tasks, **options} if name == "NashMTL" else dict(options)
    try:
        aggregator: nn.Module = component(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"aggregator {name!r}: {error}; give its options in training.method_options") from error
    return aggregator
