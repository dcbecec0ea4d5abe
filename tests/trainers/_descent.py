"""The paper's loop on a whole problem instead of minibatches: descent on θ and ascent on λ, up to a saddle."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nmt import Multipliers

WINDOW = 50
"""Steps after which the residual must have shrunk; if it has not, η_λ is too large and is halved."""


def steps(
    losses_of: Callable[[Tensor], Tensor], theta: Tensor, multipliers: Multipliers, eta_theta: float
) -> Iterator[float]:
    r"""Simultaneous steps on ``theta`` and λ, both in place, without end.

    Yields:
        Distance of the point *before* the step from a saddle: the largest of :math:`|\nabla_\theta \sum_i w_i \ell_i|`
        and of what the projection leaves of each violation (a slack constraint at λ = 0 adds nothing).
    """
    while True:
        losses = losses_of(theta.requires_grad_())
        (gradient,) = torch.autograd.grad(multipliers.combine(losses), theta)
        before = multipliers.values.clone()
        multipliers.ascend(losses)
        ascent = (multipliers.values - before).abs() / multipliers.rate
        theta.requires_grad_(False).sub_(gradient, alpha=eta_theta)
        yield float(torch.cat([gradient.abs(), ascent]).max())


def descend(
    losses_of: Callable[[Tensor], Tensor],
    start: Tensor,
    multipliers: Multipliers,
    eta_theta: float,
    *,
    accuracy: float = 1e-6,
    longest: int = 10_000,
) -> Tensor:
    """θ at a saddle; λ stays in ``multipliers``, whose rate is annealed.

    Args:
        losses_of: Losses of all tasks of the stage, protected ones first.
        start: θ of the stage before.
        multipliers: Those of the stage.
        eta_theta: At most 1 over the largest curvature of any task: the weights are convex, so that is stable.
        accuracy: Residual (see :func:`steps`) at which the loop ends.
        longest: Steps after which it gives up.

    Raises:
        AssertionError: There is no convergence.
    """
    theta = start.clone()
    last, worst = float("inf"), 0.0
    for step, residual in enumerate(steps(losses_of, theta, multipliers, eta_theta), 1):
        if residual <= accuracy:
            return theta
        assert step < longest, f"after {step} steps the residual is {residual}"
        worst = max(worst, residual)
        if step % WINDOW == 0:
            if worst > 0.9 * last:
                multipliers.rate /= 2
            last, worst = worst, 0.0
    raise AssertionError("the steps have no end")
