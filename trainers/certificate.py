"""The certificate of a stage: how far its result is from the Karush-Kuhn-Tucker (KKT) conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_SHRINKAGE = 0.05
"""Smallest relative decrease of a mean violation that counts as shrinking; also the largest relative standard error at
which that decrease is considered known. For comparison: on a quadratic at ε = 0, where λ grows without bound although
the constraint can be met, the violation shrinks by an eighth from one of the two last sixths to the other."""

MIN_RISE = 0.1
"""Smallest relative increase of 1 + λ over the last third of a stage. A multiplier that hardly moves does not show what
a larger one would enforce."""

MIN_ROWS = 6
"""Fewest rows in each of the two last sixths of a stage."""


@dataclass(frozen=True)
class Certificate:
    r"""Residuals of the KKT conditions at a stage's result, for minimising L_k subject to L_i ≤ L_i* + ε_i.

    All of them are measured on the training split, at the accepted θ* and with the multipliers at the end of the stage.
    If θ* was accepted long before the end, or in a retreat to an earlier candidate, this pair never occurred in
    training; a large ``stationarity`` may then mean no more than that.

    Attributes:
        feasibility: Protected task → :math:`\max(0, L_i - L_i^* - \varepsilon_i)`, in units of its loss; 0 when met.
        slackness: Protected task → :math:`\lambda_i\,|L_i - L_i^* - \varepsilon_i|`, in units of the objective; 0 when
            the constraint is active or its multiplier is 0. If the validation split drove the multipliers, it need not
            vanish on the training split.
        shadow_prices: Protected task → :math:`\lambda_i`: the decrease of the objective per unit of tolerance granted
            to the task (:math:`dP/d\varepsilon_i = -\lambda_i`). With FAMO inside the constrained stage this is the
            effective multiplier, and all other fields are computed from it.
        stationarity: See :func:`stationarity`, in [0, 1]; NaN when it was not measured. If all multipliers are 0 it is
            1 wherever the gradient is not 0; ``gradient_norm`` is then the informative number.
        gradient_norm: :math:`\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|`; NaN when it was not measured.
        not_attainable: Protected tasks whose constraint seems unattainable, see :func:`not_attainable`.
        examples: Training examples behind the gradients, over all workers. Losses cover the whole split.
        grouped: Number of protected tasks whose λ-weighted gradients were summed before the norm was taken. If it is
            not 0, ``stationarity`` is an upper bound: the norm of a sum is at most the sum of the norms.
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
    r"""Return a task's excess over its limit: :math:`\max(0, L_i - L_i^* - \varepsilon_i)`; NaN stays NaN."""
    excess = loss - optimum - tolerance
    return 0.0 if excess <= 0 else excess


def slackness(multiplier: float, loss: float, optimum: float, tolerance: float = 0.0) -> float:
    r"""Return the residual of complementary slackness: :math:`\lambda_i\,|L_i - L_i^* - \varepsilon_i|`."""
    return multiplier * abs(loss - optimum - tolerance)


def gradient_norm(objective: Tensor, protected: Tensor, multipliers: Tensor) -> float:
    r"""Return the norm of the Lagrangian's gradient: :math:`\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|`.

    Args:
        objective: :math:`\nabla L_k`, shape ``(parameters,)``.
        protected: :math:`\nabla L_i` of each protected task, shape ``(protected, parameters)``.
        multipliers: :math:`\lambda_i`, shape ``(protected,)``.
    """
    return _norm(objective + multipliers.to(protected) @ protected)


def stationarity(objective: Tensor, protected: Tensor, multipliers: Tensor) -> float:
    r"""Return the norm of the Lagrangian's gradient relative to the norms of its terms.

    .. math:: \frac{\|\nabla L_k + \sum_i \lambda_i \nabla L_i\|}{\|\nabla L_k\| + \sum_i \lambda_i \|\nabla L_i\|}
              \in [0, 1]

    It does not depend on the scale of the losses or of θ. It is 0 at a stationary point of the Lagrangian (arXiv
    2412.12092, equation 7), where the gradients of objective and constraints cancel, and 1 when all gradients have the
    same direction or there is only one.

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
    r"""Return the tasks whose λ rises throughout the last third of a stage while their violation does not shrink.

    At ε = 0 a rising λ alone is not a bad sign: Slater's condition fails, no finite multiplier exists, and λ grows
    without bound while the violation shrinks. If the violation does not shrink, no λ will bring the task back to its
    limit while this objective is minimised, and the user should allow a tolerance. With T the last recorded step, a
    task is returned if all of this holds:

    * λ(2T/3) < λ(5T/6) < λ(T), and 1 + λ grew by at least :data:`MIN_RISE` from 2T/3 to T;
    * its mean violation v over (2T/3, 5T/6] and the mean v' over (5T/6, T] are positive, and
      v' ≥ (1 − :data:`MIN_SHRINKAGE`) v;
    * the standard error of v' − v, with rows taken as independent, is at most :data:`MIN_SHRINKAGE` · v, so a violation
      that is lost in the noise of its minibatches does not count;
    * each of the two sixths has at least :data:`MIN_ROWS` rows.

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
    if not before or min(len(early), len(late)) < MIN_ROWS:
        return ()
    rise = torch.tensor([multipliers[rows[-1]] for rows in (before, early, late)], dtype=torch.float64)
    first = torch.tensor([violations[row] for row in early], dtype=torch.float64)
    second = torch.tensor([violations[row] for row in late], dtype=torch.float64)
    mean, later = first.mean(0), second.mean(0)
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    rises = (rise[0] < rise[1]) & (rise[1] < rise[2]) & (1 + rise[2] >= (1 + MIN_RISE) * (1 + rise[0]))
    stays = (mean > 0) & (later >= (1 - MIN_SHRINKAGE) * mean) & (error <= MIN_SHRINKAGE * mean)
    return tuple(name for name, named in zip(names, (rises & stays).tolist(), strict=True) if named)


def _norm(gradient: Tensor) -> float:
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
