"""Effect of the losses' unit on the multipliers."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nmt import Multipliers
from nmt.trainers.multipliers import Violation
from tests.trainers._asserts import assert_close
from tests.trainers._cases import (
    ROUNDING,
    deterministic,
    factors,
    few,
    losses,
    violation_kinds,
)
from tests.trainers._descent import descend
from tests.trainers._problems import two_bowls

CURVATURES = torch.tensor([[1.0, 3.0, 0.5], [2.0, 0.3, 1.0], [0.4, 1.0, 2.0]], dtype=torch.float64)

CENTRES = torch.tensor([[0.0, 0.0, 0.0], [0.5, -0.3, 0.2], [3.0, 2.0, -4.0]], dtype=torch.float64)

FLOORS = torch.tensor([0.3, 0.8, 0.1], dtype=torch.float64)

TOLERANCES = torch.tensor([0.02, 0.05], dtype=torch.float64)


def valleys(theta: Tensor) -> Tensor:
    """Return the losses of two protected tasks and an objective, with optima other than 0."""
    return FLOORS + (CURVATURES * (theta - CENTRES).square()).sum(1)


class Step(NamedTuple):
    """The start of a step: θ, λ, the scalar of :meth:`Multipliers.combine` and its gradient with respect to θ."""

    theta: Tensor
    values: Tensor
    total: float
    gradient: Tensor

    @property
    def lagrangian(self) -> Tensor:
        """∇L_k + Σ λ_i ∇ℓ_i, without the re-scaling."""
        return (1 + self.values.sum()) * self.gradient


def path(scale: Tensor, violation: Violation, rate: float, initial: float) -> list[Step]:
    """Take steps of length 0.05 along the gradient, with losses, optima and tolerances times ``scale``."""
    protected = scale[:2]
    multipliers = Multipliers(protected * FLOORS[:2], rate, protected * TOLERANCES, initial, violation=violation)
    theta = torch.tensor([-1.0, 1.0, 2.0], dtype=torch.float64)
    found = []
    for _ in range(40):
        scaled = scale * valleys(theta.requires_grad_())
        total = multipliers.combine(scaled)
        (gradient,) = torch.autograd.grad(total, theta)
        theta = theta.detach()
        found.append(Step(theta, multipliers.values.clone(), float(total.detach()), gradient))
        multipliers.ascend(scaled)
        theta = theta - 0.05 * gradient / gradient.norm()
    return found


def scales(protected: float, objective: float) -> Tensor:
    return torch.tensor([protected, protected, objective], dtype=torch.float64)


def assert_same(one: Tensor, other: Tensor) -> None:
    """Compare up to rounding, which 40 steps may amplify."""
    assert_close(one, other, 1e-9 * (1 + float(other.abs().max())))


class TestScale:
    r"""Effect on a stage of another unit of the protected losses.

    Let every protected loss, its optimum and its tolerance be multiplied by c > 0, let the objective be unchanged, and

    .. math:: \lambda_0' = \lambda_0 / c, \qquad \eta_\lambda' = \eta_\lambda / c \ \text{(relative)}
              \quad\text{or}\quad \eta_\lambda / c^2 \ \text{(absolute)}.

    **Statement.** Along the same :math:`\theta_0, \theta_1, \dots` and at every step t

    1. :math:`\lambda_t' = \lambda_t / c`;
    2. :math:`D_t = \nabla L_k + \sum_i \lambda_i \nabla \ell_i` is unchanged;
    3. the gradient of :meth:`combine` is multiplied by
       :math:`\rho_t = (1 + \sum_j \lambda_{j,t}) / (1 + \sum_j \lambda_{j,t} / c) > 0`.

    **Proof.** A violation is :math:`c^p v` with p = 1 (absolute: all three terms are multiplied by c) or p = 0
    (relative: so is the denominator). By induction :math:`\lambda_{t+1}' = \max(0, \lambda_t / c +
    \eta_\lambda c^{-1-p} c^p v_t) = \max(0, \lambda_t + \eta_\lambda v_t) / c`, because the projection at 0 commutes
    with a positive factor. Then :math:`\lambda_i' \nabla (c\, \ell_i) = \lambda_i \nabla \ell_i`, which is 2; and
    :meth:`combine` has the gradient :math:`D_t / (1 + \sum_j \lambda_j')`, which is 3.

    **So** θ takes the same path under every rule that uses only the direction of the gradient (normalised or sign
    steps), and under plain SGD if :math:`\eta_\theta` is divided by :math:`\rho_t`. With an unchanged constant
    :math:`\eta_\theta` it takes another path, because :math:`\rho_t` changes with λ. Adam cancels a constant factor
    only, so its path is the same as long as :math:`\rho_t` is constant. Fixed points do not depend on step sizes: the
    saddle has the same θ* and λ*/c.

    Relative violations thus make :math:`\eta_\lambda` independent of the unit that *all* losses share (nothing has to
    be adapted, and λ itself is unchanged), but not of the unit of the protected losses alone.
    """

    @pytest.mark.parametrize("c", [0.25, 0.5, 2.0, 4.0])
    def test_saddle_of_a_scaled_loss(self, c: float) -> None:
        """L1 = c x², ε = 0.04 c: x* = 0.2, y* = 2 as before, λ* = 4/c, under absolute violations."""
        multipliers = Multipliers([0.0], rate=1 / c**2, tolerance=0.04 * c, initial=0.0)
        scale = torch.tensor([c, 1.0], dtype=torch.float64)
        start = torch.zeros(2, dtype=torch.float64)
        theta = descend(lambda t: scale * two_bowls(t), start, multipliers, 0.25 / max(1.0, c))
        assert_close(theta, [0.2, 2.0], 1e-5)
        assert_close(multipliers.values * c, [4.0], 1e-3)

    @few
    @given(factors, violation_kinds, st.floats(0.1, 3.0), st.floats(0.0, 5.0))
    def test_of_the_protected_losses(self, c: float, violation: Violation, rate: float, initial: float) -> None:
        """The statement above at every step; each run computes its own path."""
        adapted = rate / c if violation == "relative" else rate / c**2
        plain = path(scales(1.0, 1.0), violation, rate, initial)
        scaled = path(scales(c, 1.0), violation, adapted, initial / c)
        for one, other in zip(plain, scaled, strict=True):
            assert_same(other.theta, one.theta)
            assert_same(c * other.values, one.values)
            assert_same(other.lagrangian, one.lagrangian)
            rho = (1 + one.values.sum()) / (1 + one.values.sum() / c)
            assert_same(other.gradient / rho, one.gradient)

    @few
    @given(factors, violation_kinds, st.floats(0.1, 3.0), st.floats(0.0, 5.0))
    def test_of_all_losses(self, c: float, violation: Violation, rate: float, initial: float) -> None:
        """θ and λ are unchanged and combine is multiplied by c; absolute violations need η_λ divided by c."""
        adapted = rate if violation == "relative" else rate / c
        plain = path(scales(1.0, 1.0), violation, rate, initial)
        scaled = path(scales(c, c), violation, adapted, initial)
        for one, other in zip(plain, scaled, strict=True):
            assert_same(other.theta, one.theta)
            assert_same(other.values, one.values)
            assert_same(other.gradient / c, one.gradient)
            assert other.total / c == pytest.approx(one.total, rel=1e-9)

    @deterministic
    @given(factors, st.lists(losses, min_size=3, max_size=3))
    def test_relative_violations_have_no_unit(self, c: float, row: list[float]) -> None:
        optima, values = torch.tensor([0.3, -2.0], dtype=torch.float64), torch.tensor(row, dtype=torch.float64)
        plain = Multipliers(optima, 1.0, TOLERANCES, violation="relative")
        scaled = Multipliers(c * optima, 1.0, c * TOLERANCES, violation="relative")
        assert_close(scaled.violations(c * values), plain.violations(values), ROUNDING)
        assert_close(scaled.paired_violations(c * values[:2]), plain.paired_violations(values[:2]), ROUNDING)

    def test_the_gradient_is_not_just_multiplied_by_a_constant(self) -> None:
        """Why the statement is about directions: ρ changes with λ, so a constant η_θ gives another path."""
        plain, scaled = path(scales(1.0, 1.0), "absolute", 1.0, 1.0), path(scales(10.0, 1.0), "absolute", 0.01, 0.1)
        ratios = [float(b.gradient.norm() / a.gradient.norm()) for a, b in zip(plain, scaled, strict=True)]
        assert max(ratios) > 1.2 * min(ratios)
