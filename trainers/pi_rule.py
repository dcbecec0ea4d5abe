"""The proportional part of a PI controller on λ: what the ν-PI rule adds to gradient ascent."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Proportional(NamedTuple):
    """One step of the proportional part.

    Attributes:
        change: What to add to λ before it is projected, shape ``(protected,)``.
        smoothed: ξ_t, the violations' moving average, to be kept for the next step.
        started: Which tasks have a moving average, boolean, to be kept too.
    """

    change: Tensor
    smoothed: Tensor
    started: Tensor


def proportional_step(
    violations: Tensor, smoothed: Tensor, started: Tensor, gain: float, smoothing: float
) -> Proportional:
    r"""The proportional part of the ν-PI rule, one step of it.

    Sohrabi et al. 2024, "On PI Controllers for Updating Lagrange Multipliers in Constrained Optimization", ICML, arXiv
    2406.04558: the recursive form of the update (as in Cooper, the authors' library), projected as for inequality
    constraints. With violations :math:`e_t`, integral gain :math:`\kappa_I` (here :math:`\eta_\lambda`), proportional
    gain :math:`\kappa_P` and smoothing ν, the whole rule is

    .. math::
        \xi_0 = e_0, \qquad \xi_t = \nu\, \xi_{t-1} + (1 - \nu)\, e_t \\
        \lambda_1 = \max(0,\; \lambda_0 + \kappa_I e_0 + \kappa_P \xi_0) \\
        \lambda_{t+1} = \max\bigl(0,\; \lambda_t + \kappa_I e_t + \kappa_P (\xi_t - \xi_{t-1})\bigr)

    and this is the term with :math:`\kappa_P`. Without the projection :math:`\lambda_{t+1} = \lambda_0 + \kappa_P \xi_t
    + \kappa_I \sum_{s \le t} e_s`: λ answers at once to a violation that grows, and gives way while it still shrinks,
    which is what damps its swing. :math:`\kappa_P = \kappa_I` at ν = 0 is the optimistic gradient method.
    :math:`\xi_0` is an initial condition; here the first violation is the average of one. (Cooper offers
    :math:`\xi_0 = (1 - \nu)\, e_0`, the same at ν = 0, and a first step without proportional part.)

    A violation of exactly 0 is that of a task which nobody labelled: it leaves λ and ξ alone. A ξ that is not finite,
    after steps which diverged, is forgotten. Nothing is synchronised with the host.

    Args:
        violations: :math:`e_t`, signed, shape ``(protected,)``.
        smoothed: :math:`\xi_{t-1}`; read where ``started``.
        started: Which tasks have a :math:`\xi_{t-1}`.
        gain: :math:`\kappa_P > 0`, in units of λ per unit of violation.
        smoothing: ν in (−1, 1); 0 takes the violation as it is, a positive one averages, a negative one over-weighs the
            latest violation.
    """
    labelled = violations != 0
    known = started & smoothed.isfinite()
    before = torch.where(known, smoothed, 0.0)
    average = torch.where(known, smoothing * before + (1 - smoothing) * violations, violations)
    after = torch.where(labelled, average, before)
    return Proportional(gain * (after - before), after, known | labelled)
