"""Growth of λ in closed form: without tolerance it is unbounded; at a slack limit λ is 0."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor

from nmt import Multipliers
from tests.trainers._descent import descend, steps


def bowls(theta: Tensor, centre: float) -> Tensor:
    """L1 = x², L2 = (x − centre)²."""
    return torch.stack([theta[0] ** 2, (theta[0] - centre) ** 2])


@pytest.mark.parametrize(("rate", "times"), [(0.1, (1000, 3000, 10_000)), (1.0, (3000,))])
def test_growth_without_tolerance(rate: float, times: tuple[int, ...]) -> None:
    """L1 = x², L2 = (x − 1)², ε = 0: λ(t) = (1 + 3 η_λ t)^{1/3} − 1.

    At a fixed λ the Lagrangian's minimiser is x = 1/(1 + λ). The re-scaled loss has curvature 2 for every λ, so a step
    shrinks the distance to the minimiser by the factor |1 − 2 η_θ| = 1/2, while the minimiser moves by the fraction
    η_λ/(1 + λ)³. θ follows it as soon as η_λ ≪ (1 + λ)³, which eventually holds for any η_λ. At the minimiser
    dλ/dt = η_λ x², so d(1 + λ)³/dt = 3 η_λ. The error of a step is 3 η_λ²/(1 + λ)³ from its finite length, and
    6 η_λ²/(1 + λ)³ for each step by which x lags; the sum is a multiple of η_λ log(1 + 3 η_λ t), negligible against
    3 η_λ t.
    """
    multipliers = Multipliers([0.0], rate=rate, initial=0.0)
    theta = torch.ones(1, dtype=torch.float64)
    trace = [0.0]
    for t, _ in enumerate(steps(lambda x: bowls(x, 1.0), theta, multipliers, eta_theta=0.25), 1):
        trace.append(float(multipliers.values))
        if t == times[-1]:
            break
    for t in times:
        assert trace[t] == pytest.approx((1 + 3 * rate * t) ** (1 / 3) - 1, rel=0.01), t
    assert all(later > earlier for earlier, later in pairwise(trace))
    assert float(theta[0] ** 2) == pytest.approx((1 + 3 * rate * times[-1]) ** (-2 / 3), rel=0.02)


def test_a_slack_limit_costs_nothing() -> None:
    """L1 = x², L2 = (x − 0.1)², ε = 0.04: the unconstrained optimum x* = 0.1 is feasible, and λ is exactly 0."""
    multipliers = Multipliers([0.0], rate=1.0, tolerance=0.04)
    theta = torch.ones(1, dtype=torch.float64)
    largest = 0.0
    for _ in islice(steps(lambda x: bowls(x, 0.1), theta, multipliers, eta_theta=0.1), 200):
        largest = max(largest, float(multipliers.values))
    assert largest > 1.5  # the start, x = 1, violates
    assert multipliers.values.tolist() == [0.0]
    assert float(theta[0]) == pytest.approx(0.1, abs=1e-6)
    assert float(multipliers.values) * abs(float(theta[0] ** 2) - 0.04) <= 1e-6


@pytest.mark.parametrize("tolerance", [0.0025, 0.04, 0.36])
def test_complementary_slackness_of_an_active_limit(tolerance: float) -> None:
    """L1 = x², L2 = (x − 1)²: λ* = 1/√ε − 1, and λ·|L1 − ε| is 0 because the limit is met exactly."""
    multipliers = Multipliers([0.0], rate=0.1 / tolerance, tolerance=tolerance)
    theta = descend(lambda x: bowls(x, 1.0), torch.zeros(1).double(), multipliers, 0.25, accuracy=1e-9)
    assert float(multipliers.values) == pytest.approx(1 / math.sqrt(tolerance) - 1, rel=1e-4)
    assert float(multipliers.values) * abs(float(theta[0] ** 2) - tolerance) <= 1e-6
