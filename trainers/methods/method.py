"""What the stage loop needs of a method, and which method a name means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from trainers.methods.names import CONSTRAINED, FAMO, TORCHJD, WEIGHTED_SUM
from trainers.multipliers import Multipliers
from trainers.workers.pending_losses import PendingLosses


class Method(Protocol):
    """Makes the gradient of a step."""

    reduces_gradients: bool
    """Whether :meth:`backward` leaves global gradients by itself; otherwise DistributedDataParallel reduces them."""

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Leave the step's gradient in the parameters' ``grad``.

        Args:
            contributions: This worker's part of each global mean loss (their sum over workers is the loss), shape
                ``(tasks,)``, protected tasks first, with the graph to differentiate.
            losses: The global losses, which are still on their way.
        """

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Take note of what the step did.

        Args:
            measure: Global losses of the same minibatch after the step; costs a forward pass when called.
        """

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        r"""The multipliers at which the method settles: those of the Lagrangian that its steps are a descent of.

        :math:`\lambda_i` itself where λ alone decides the ratio of the protected task's gradient to the objective's.

        Args:
            multipliers: λ, shape ``(protected,)``.
            losses: Losses at the point in question, over the whole training split, shape ``(tasks,)``, protected tasks
                first.

        Returns:
            Double, shape ``(protected,)``: how much the objective would fall per unit of tolerance given to the task.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the method carries from step to step: tensors, numbers and mappings of them.

        The same on every worker, and loadable with ``torch.load(…, weights_only=True)``. Empty for a method without
        memory.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another instance of the same method stood, bit for bit.

        Args:
            state: What its :meth:`state_dict` was; its tensors may be on another device, and are copied.
        """


def build_method(
    name: str,
    multipliers: Multipliers,
    model: nn.Module,
    tasks: int,
    weights: Sequence[float] | None,
    options: Mapping[str, Any],
) -> Method:
    """The method of a stage.

    Args:
        name: A name that :func:`~trainers.methods.names.check_method` accepts.
        multipliers: The stage's multipliers; of no task when nothing is protected.
        model: The model; its participating parameters have ``requires_grad``.
        tasks: Tasks of the stage, protected ones included.
        weights: Weights of a weighted sum, one per task.
        options: Keyword arguments of a torchjd aggregator.

    Raises:
        ImportError: torchjd is needed and not installed.
        ValueError: torchjd has no such aggregator, or options are wrong.
    """
    inner = name.removeprefix(f"{CONSTRAINED}+") if tasks > 1 else CONSTRAINED  # one task leaves nothing to balance
    if inner.startswith(TORCHJD):
        from trainers.methods.aggregation import Aggregation

        return Aggregation(inner.removeprefix(TORCHJD), multipliers, model, tasks, options)
    if inner == FAMO:
        from trainers.methods.famo import Famo

        return Famo(multipliers, tasks)
    if inner == WEIGHTED_SUM:
        from trainers.methods.weighted_sum import WeightedSum

        return WeightedSum(weights if weights is not None else (1.0 / tasks,) * tasks, multipliers.values.device)
    from trainers.methods.constrained import Constrained

    return Constrained(multipliers)
