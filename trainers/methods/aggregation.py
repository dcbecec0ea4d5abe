"""Any gradient aggregator of torchjd (PCGrad, MGDA, CAGrad, Nash-MTL, UPGrad …), alone or in the constrained stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.methods.torchjd import torchjd
from trainers.multipliers import Multipliers
from trainers.pending_losses import PendingLosses
from trainers.process_group import sum_over_workers
from trainers.registry import check_options, closest


class Aggregation:
    r"""Aggregates the Jacobian of the losses, one row per task, into one gradient.

    Inside the constrained stage a row is scaled by the re-scaled weight of its task, which is
    :math:`\lambda_i / (1 + \sum \lambda)` or :math:`1 / (1 + \sum \lambda)`; with torchjd's ``Sum`` that is No More
    Tuning itself. One backward pass per task.
    The rows are summed over the workers before they are aggregated: the aggregate of sums is not the sum of aggregates.

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
        gradient = self._aggregator(jacobian)
        for parameter, part in zip(
            self._parameters, gradient.split([p.numel() for p in self._parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Nothing to note."""


def build_aggregator(name: str, tasks: int, options: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """An aggregator of torchjd.

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
        aggregator: Callable[[Tensor], Tensor] = component(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"aggregator {name!r}: {error}; give its options in training.method_options") from error
    return aggregator
