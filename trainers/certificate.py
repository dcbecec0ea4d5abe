"""The certificate of a stage: how far its result is from the Karush-Kuhn-Tucker conditions, and what λ says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NOTICEABLE = 0.05
"""Relative change of a mean violation that counts as shrinking, and the relative standard error up to which the change
is known well enough to say so. On a quadratic at ε = 0, where λ rises for ever although the constraint can be met, the
violation shrinks by an eighth from one of the two sixths to the other."""

LEAST_RISE = 0.1
"""Rise of 1 + λ over the last third of a stage, as a share: a multiplier that hardly moves tells nothing about what a
larger one would enforce."""

LEAST_ROWS = 6
"""Rows in each of the last two sixths, without which there is no verdict."""


@dataclass(frozen=True)
class Certificate:
    r"""How a stage's result stands to the KKT conditions of minimising L_k subject to L_i ≤ L_i* + ε_i.

    All of it is measured on the training split, at the accepted θ* and with the multipliers of the end of the stage.
    Where θ* was accepted long before the end, or on the way back to an earlier candidate, the two were never together,
    and a large ``stationarity`` says no more than that.

    Attributes:
        feasibility: Protected task → :math:`\max(0, L_i - L_i^* - \varepsilon_i)`, in units of its loss; 0 when met.
        slackness: Protected task → :math:`\lambda_i\,|L_i - L_i^* - \varepsilon_i|`, in units of the objective; 0 when
            the constraint is active or carries no price. With multipliers that were driven by the validation split it
            need not vanish on this one.
        shadow_prices: Protected task → :math:`\lambda_i`: how much the objective would fall per unit of tolerance given
            to the task (:math:`dP/d\varepsilon_i = -\lambda_i`). Where FAMO balances inside the constrained stage it is
            the effective multiplier, and all of the numbers here are made of that one.
        stationarity: See :func:`stationarity`, in [0, 1]; NaN when it was not measured. Without a positive multiplier
            it is 1 wherever a gradient is left, and ``gradient_norm`` is what tells.
        gradient_norm: :math:`\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|`; NaN when it was not measured.
        not_attainable: Protected tasks whose constraint seems out of reach, see :func:`not_attainable`.
        examples: Training examples behind the gradients, over all workers. Losses are those of the whole split.
        grouped: Protected tasks whose gradients, weighted by λ, were added up before the norm was taken. When there are
            any, ``stationarity`` is an upper bound: the norm of a sum is at most the sum of the norms.
    """

    feasibility: Mapping[str, float]
    slackness: Mapping[str, float]
    shadow_prices: Mapping[str, float]
    stationarity: float
    gradient_norm: float
    not_attainable: tuple[str, ...]
    examples: int
    grouped: int = 0


def feasibility(loss: float, optimum: float, tolerance: float = 0.0) -> float:
    r"""How far a task is beyond its limit: :math:`\max(0, L_i - L_i^* - \varepsilon_i)`; NaN stays NaN."""
    excess = loss - optimum - tolerance
    return 0.0 if excess <= 0 else excess


def slackness(multiplier: float, loss: float, optimum: float, tolerance: float = 0.0) -> float:
    r"""Complementary slackness: :math:`\lambda_i\,|L_i - L_i^* - \varepsilon_i|`."""
    return multiplier * abs(loss - optimum - tolerance)


def gradient_norm(objective: Tensor, protected: Tensor, multipliers: Tensor) -> float:
    r"""Norm of the Lagrangian's gradient: :math:`\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|`.

    Args:
        objective: :math:`\nabla L_k`, shape ``(parameters,)``.
        protected: :math:`\nabla L_i` of each protected task, shape ``(protected, parameters)``.
        multipliers: :math:`\lambda_i`, shape ``(protected,)``.
    """
    return _norm(objective + multipliers.to(protected) @ protected)


def stationarity(objective: Tensor, protected: Tensor, multipliers: Tensor) -> float:
    r"""The Lagrangian's gradient relative to the gradients that it is made of, free of the scale of losses and of θ.

    .. math:: \frac{\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|}{\|\nabla L_k\| + \sum_i \lambda_i \|\nabla L_i\|}
              \in [0, 1]

    0 at a stationary point of the Lagrangian (arXiv 2412.12092, equation 7): the constraints pull back exactly as hard
    as the objective pulls. 1 when all gradients point the same way, or when there is only one.

    Args:
        objective: :math:`\nabla L_k`, shape ``(parameters,)``.
        protected: :math:`\nabla L_i` of each protected task, shape ``(protected, parameters)``.
        multipliers: :math:`\lambda_i`, shape ``(protected,)``.

    Example:
        The saddle of min (x − 1)² + (y − 2)² subject to x² ≤ 0.04, at (0.2, 2) with λ = 4:

        >>> stationarity(torch.tensor([-1.6, 0.0]), torch.tensor([[0.4, 0.0]]), torch.tensor([4.0]))
        0.0
    """
    weights = multipliers.double().tolist()
    whole = _norm(objective) + math.fsum(
        weight * _norm(gradient) for weight, gradient in zip(weights, protected, strict=True)
    )
    return gradient_norm(objective, protected, multipliers) / whole if whole != 0 else 0.0


def not_attainable(
    names: Sequence[str],
    steps: Sequence[int],
    multipliers: Sequence[Sequence[float]],
    violations: Sequence[Sequence[float]],
) -> tuple[str, ...]:
    r"""Tasks whose λ rises through the whole last third of a stage while their violation does not shrink.

    At ε = 0 a rising λ alone is no bad sign: no finite multiplier exists (Slater's condition fails), and λ grows for
    ever while the violation shrinks. When the violation stays where it is, no λ will bring the task back to its limit
    while this objective is minimised, and the user is to allow a tolerance. With T the last recorded step, a task is
    named when all of this holds:

    * λ(2T/3) < λ(5T/6) < λ(T), and 1 + λ grew by at least :data:`LEAST_RISE` from 2T/3 to T;
    * its mean violation v over (2T/3, 5T/6] and the mean v' over (5T/6, T] are positive, and
      v' ≥ (1 − :data:`NOTICEABLE`) v;
    * the standard error of v' − v, rows taken as independent, is at most :data:`NOTICEABLE` · v. A violation that
      drowns in the noise of its minibatches gets no verdict;
    * each of the two sixths has at least :data:`LEAST_ROWS` rows.

    Args:
        names: Protected tasks.
        steps: Optimisation step of each row, ascending.
        multipliers: λ after that step, shape ``(rows, protected)``.
        violations: Mean signed violations since the row before, shape ``(rows, protected)``; absolute or relative.
    """
    if not names or not steps:
        return ()
    last = steps[-1]
    before = [row for row, step in enumerate(steps) if 3 * step <= 2 * last]
    early = [row for row, step in enumerate(steps) if 2 * last < 3 * step and 6 * step <= 5 * last]
    late = [row for row, step in enumerate(steps) if 5 * last < 6 * step]
    if not before or min(len(early), len(late)) < LEAST_ROWS:
        return ()
    rise = torch.tensor([multipliers[rows[-1]] for rows in (before, early, late)], dtype=torch.float64)
    first = torch.tensor([violations[row] for row in early], dtype=torch.float64)
    second = torch.tensor([violations[row] for row in late], dtype=torch.float64)
    mean, later = first.mean(0), second.mean(0)
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    rises = (rise[0] < rise[1]) & (rise[1] < rise[2]) & (1 + rise[2] >= (1 + LEAST_RISE) * (1 + rise[0]))
    stays = (mean > 0) & (later >= (1 - NOTICEABLE) * mean) & (error <= NOTICEABLE * mean)
    return tuple(name for name, named in zip(names, (rises & stays).tolist(), strict=True) if named)


def _norm(gradient: Tensor) -> float:
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
