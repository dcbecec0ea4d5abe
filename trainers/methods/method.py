"""The interface of a method, and the construction of a method from its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from nmt.trainers.methods.names import CONSTRAINED, FAMO, TORCHJD, WEIGHTED_SUM
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.workers.pending_losses import PendingLosses


class Method(Protocol):
    """Turns the losses of a step into its gradient."""

    reduces_gradients: bool
    """Whether :meth:`backward` all-reduces the gradients; otherwise DistributedDataParallel does."""

    def backward(self, contributions: Tensor, losses: PendingLosses) -> None:
        """Write the step's gradient to the parameters' ``grad``.

        Args:
            contributions: This worker's part of each global mean loss (the sum over workers is the loss), shape
                ``(tasks,)``, protected tasks first, with its autograd graph.
            losses: The global losses, whose all-reduce is under way.
        """

    def observe(self, measure: Callable[[], Tensor]) -> None:
        """Update the method's state after the step.

        Args:
            measure: Returns the global losses of the same minibatch after the step, by a further forward pass.
        """

    def shadow_prices(self, multipliers: Tensor, losses: Tensor) -> Tensor:
        r"""Return the multipliers of the Lagrangian that the method's steps descend.

        They equal :math:`\lambda_i` if λ alone sets the ratio of a protected task's gradient to the objective's.

        Args:
            multipliers: λ, shape ``(protected,)``.
            losses: Losses over the whole training split, shape ``(tasks,)``, protected tasks first.

        Returns:
            Double, shape ``(protected,)``: the decrease of the objective per unit of tolerance granted to the task.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state: tensors, numbers and mappings of them; empty for a stateless method.

        It is the same on every worker, and ``torch.load(…, weights_only=True)`` can load it.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of another instance of the same method; the next steps are then bit-identical.

        Args:
            state: What its :meth:`state_dict` returned. Tensors are copied, and may be on another device.
        """


def build_method(
    name: str,
    multipliers: Multipliers,
    model: nn.Module,
    tasks: int,
    weights: Sequence[float] | None,
    options: Mapping[str, Any],
) -> Method:
    """Build the method of a stage.

    Args:
        name: A name that :func:`~nmt.trainers.methods.names.check_method` accepts.
        multipliers: The stage's multipliers; without tasks when nothing is protected.
        model: The model; its participating parameters have ``requires_grad``.
        tasks: Number of tasks of the stage, protected tasks included.
        weights: Weights of a weighted sum, one per task; ``None`` weights tasks equally.
        options: Keyword arguments of a torchjd aggregator.

    Raises:
        ImportError: The method needs torchjd, which is not installed.
        ValueError: torchjd has no such aggregator, or an option is wrong.
    """
    inner = name.removeprefix(f"{CONSTRAINED}+") if tasks > 1 else CONSTRAINED  # one task leaves nothing to balance
    if inner.startswith(TORCHJD):
        from nmt.trainers.methods.aggregation import Aggregation

        return Aggregation(inner.removeprefix(TORCHJD), multipliers, model, tasks, options)
    if inner == FAMO:
        from nmt.trainers.methods.famo import Famo

        return Famo(multipliers, tasks)
    if inner == WEIGHTED_SUM:
        from nmt.trainers.methods.weighted_sum import WeightedSum

        return WeightedSum(weights if weights is not None else (1.0 / tasks,) * tasks, multipliers.values.device)
    from nmt.trainers.methods.constrained import Constrained

    return Constrained(multipliers)
