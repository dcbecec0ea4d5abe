"""Any gradient aggregator of torchjd (PCGrad, MGDA, CAGrad, Nash-MTL, UPGrad …), alone or in the constrained stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.methods.aggregator_state import read_state, write_state
from trainers.methods.torchjd import torchjd
from trainers.multipliers import Multipliers
from trainers.registry import check_options, closest
from trainers.workers.pending_losses import PendingLosses
from trainers.workers.process_group import broadcast_object, sum_over_workers


class Aggregation:
    r"""Aggregates the Jacobian of the losses, one row per task, into one gradient.

    Inside the constrained stage a row is scaled by the re-scaled weight of its task, which is
    :math:`\lambda_i / (1 + \sum \lambda)` or :math:`1 / (1 + \sum \lambda)`; with torchjd's ``Sum`` that is No More
    Tuning itself. One backward pass per task.
    The rows are summed over the workers before they are aggregated: the aggregate of sums is not the sum of aggregates.

    Several aggregators draw random numbers (PCGrad and GradVac the order of the tasks, GradDrop and Random what they
    keep). Every worker draws the same ones, or their parameters would drift apart: they are a function of the first
    worker's seed when the method was built and of the step, and the worker's own stream, from which dropout draws,
    stands still meanwhile.

    Args:
        name: A class of ``torchjd.aggregation``.
        multipliers: The stage's multipliers; of no task when the aggregator runs alone.
        model: The model; its participating parameters have ``requires_grad``.
        tasks: Tasks of the stage; passed on as ``n_tasks`` where an aggregator asks for it.
        options: Keyword arguments of the aggregator.

    Raises:
        ImportError: torchjd is not installed.
        ValueError: It has no such aggregator, or an option is unknown or missing.
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
        """Rows of this worker, summed over the workers, aggregated."""
        protected = len(self._multipliers.values)
        weights = self._multipliers.weights().to(contributions.dtype)
        rows = []
        for place, contribution in enumerate(contributions):
            gradients = torch.autograd.grad(
                contribution, self._parameters, retain_graph=place + 1 < len(contributions), materialize_grads=True
            )
            rows.append(torch.cat([g.flatten() for g in gradients]) * weights[min(place, protected)])
        jacobian = sum_over_workers(torch.stack(rows))
        gradient = self._aggregate(jacobian)
        self._steps += 1
        for parameter, part in zip(
            self._parameters, gradient.split([p.numel() for p in self._parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Nothing to note."""

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        """λ itself, although an aggregator may mix the rows at another ratio, which it does not tell."""
        return multipliers.clone()

    def state_dict(self) -> dict[str, Any]:
        """The seed and the number of steps, which random numbers follow from, and the aggregator's own state."""
        return {"seed": self._seed, "steps": self._steps, "aggregator": read_state(self._aggregator)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self._seed, self._steps = state["seed"], state["steps"]
        if state["aggregator"]:
            # Built on the first call, from the shape, type and device of what it is given: keys, solvers, buffers.
            flat = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
            self._aggregate(torch.eye(self._tasks, len(flat), dtype=flat.dtype, device=flat.device))
            write_state(self._aggregator, state["aggregator"])

    def _aggregate(self, jacobian: Tensor) -> Tensor:
        with torch.random.fork_rng([jacobian.device] if jacobian.is_cuda else []):
            torch.manual_seed(hash((self._seed, self._steps)))
            gradient: Tensor = self._aggregator(jacobian)
            return gradient


def build_aggregator(name: str, tasks: int, options: Mapping[str, Any]) -> nn.Module:
    """An aggregator of torchjd: a module that maps a Jacobian, one row per task, to one gradient.

    Raises:
        ImportError: torchjd is not installed, or a solver that the aggregator needs.
        ValueError: It has no such aggregator, or an option is unknown, missing or out of range.
    """
    module = torchjd("aggregation")
    known = [key for key, value in vars(module).items() if isinstance(value, type) and not key.endswith("Weighting")]
    known = [key for key in known if key not in ("Aggregator", "WeightedAggregator", "GramianWeightedAggregator")]
    if name not in known:
        raise ValueError(f"torchjd has no aggregator {name!r}{closest(name, known)}; it has {', '.join(sorted(known))}")
    component = getattr(module, name)
    check_options(f"aggregator {name!r}", component, options, ("self", "n_tasks"))
    given = {"n_tasks": tasks, **options} if name == "NashMTL" else dict(options)
    try:
        aggregator: nn.Module = component(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"aggregator {name!r}: {error}; give its options in training.method_options") from error
    return aggregator
