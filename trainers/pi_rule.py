"""The proportional term of the ν-PI rule, which it adds to gradient ascent on λ."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Proportional(NamedTuple):
    """Result of one step of the proportional term.

    Attributes:
        change: Increment of λ, to be added before the projection, shape ``(protected,)``.
        smoothed: ξ_t, the moving average of the violations, for the next step.
        started: Which tasks have a moving average, boolean, for the next step.
    """

    change: Tensor
    smoothed: Tensor
    started: Tensor


def proportional_step(
    violations: Tensor, smoothed: Tensor, started: Tensor, gain: float, smoothing: float
) -> Proportional:
    r"""Compute one step of the proportional term of the ν-PI rule.

    Sohrabi et al. 2024, "On PI Controllers for Updating Lagrange Multipliers in Constrained Optimization", ICML, arXiv
    2406.04558: the recursive form of the update (as in Cooper, the authors' library), projected as for inequality
    constraints. With violations :math:`e_t`, integral gain :math:`\kappa_I` (here :math:`\eta_\lambda`), proportional
    gain :math:`\kappa_P` and smoothing ν, the whole rule is

    .. math::
        \xi_0 = e_0, \qquad \xi_t = \nu\, \xi_{t-1} + (1 - \nu)\, e_t \\
        \lambda_1 = \max(0,\; \lambda_0 + \kappa_I e_0 + \kappa_P \xi_0) \\
        \lambda_{t+1} = \max\bigl(0,\; \lambda_t + \kappa_I e_t + \kappa_P (\xi_t - \xi_{t-1})\bigr)

    of which this function computes the term with :math:`\kappa_P`. Without the projection :math:`\lambda_{t+1} =
    \lambda_0 + \kappa_P \xi_t + \kappa_I \sum_{s \le t} e_s`: λ reacts immediately to a growing violation and decreases
    while the violation still shrinks, which damps its oscillation. :math:`\kappa_P = \kappa_I` at ν = 0 is the
    optimistic gradient method. :math:`\xi_0` is an initial condition; here it is the first violation. (Cooper offers
    :math:`\xi_0 = (1 - \nu)\, e_0`, the same at ν = 0, and a first step without proportional term.)

    A violation of exactly 0 belongs to a task without labels and changes neither λ nor ξ. A ξ that is not finite, after
    diverged steps, is discarded. The host is not synchronised.

    Args:
        violations: :math:`e_t`, signed, shape ``(protected,)``.
        smoothed: :math:`\xi_{t-1}`; read where ``started``.
        started: Which tasks have a :math:`\xi_{t-1}`.
        gain: :math:`\kappa_P > 0`, in units of λ per unit of violation.
        smoothing: ν in (−1, 1). 0 uses the violation as it is, a positive ν averages, a negative ν over-weights the
            latest violation.
    """
    labelled = violations != 0
    known = started & smoothed.isfinite()
    before = torch.where(known, smoothed, 0.0)
    average = torch.where(known, smoothing * before + (1 - smoothing) * violations, violations)
    after = torch.where(labelled, average, before)
    return Proportional(gain * (after - before), after, known | labelled)
