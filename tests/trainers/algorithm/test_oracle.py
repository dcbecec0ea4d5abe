"""Random convex problems, stage by stage, against CVXPY: primal, dual, and multipliers as shadow prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import cvxpy as cp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from nmt import Multipliers
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.settings import Settings
from nmt.trainers.stage.terms import Terms
from tests.trainers._descent import descend
from tests.trainers._problems import binary

Kind = Literal["quadratic", "logistic"]
Vector = NDArray[np.float64]

SEEDS = range(20)
KINDS: tuple[Kind, ...] = ("quadratic", "logistic")
AGREEMENT = 1e-3
"""Largest difference from CVXPY, relative to the larger of 1 and the number itself."""
SHADOW_PRICE = 0.01
"""Largest relative difference between λ and the finite difference of CVXPY's optimal value."""
ACTIVE = 0.1
"""λ above which a constraint counts as active; the active set must not change within a finite difference."""
FEASIBLE = 1e-5
"""Ten times the residual at which the descent ends."""


@dataclass(frozen=True)
class Problem:
    """Convex tasks in order of priority, formulated for torch and for CVXPY.

    Attributes:
        dimensions: Length of θ.
        tolerances: ε of each task.
        losses_of: θ → losses of all tasks, for the descent.
        expressions: CVXPY's variable θ → the same losses.
        curvature: Upper bound of every task's second derivative in any direction.
        rate: η_λ at the start of a stage.
        accuracy: Accuracy asked of CVXPY's solver; with exponential cones it does not always reach more.
    """

    dimensions: int
    tolerances: tuple[float, ...]
    losses_of: Callable[[Tensor], Tensor]
    expressions: Callable[[cp.Variable], list[cp.Expression]]
    curvature: float
    rate: float
    accuracy: float


@dataclass(frozen=True)
class Solution:
    """A solved stage.

    Attributes:
        theta: θ*_k.
        losses: Losses of tasks 1 … k at θ*_k.
        multipliers: λ of tasks 1 … k − 1.
        prices: Central differences of the optimal value L_k* in each ε_i; empty if not requested.
    """

    theta: Vector
    losses: Vector
    multipliers: Vector
    prices: Vector


def quadratic(seed: int) -> Problem:
    """L_i = ½ (θ − c_i)ᵀ A_i (θ − c_i) with eigenvalues in [0.6, 1.5], four tasks in 10 to 20 dimensions.

    The last centre is close to the first, so that the first limit becomes slack in the last stage.
    """
    rng = np.random.default_rng(seed)
    n, tasks = 10 + seed % 11, 4
    roots, centres = np.empty((tasks, n, n)), rng.normal(size=(tasks, n)) / n**0.5
    for i in range(tasks):
        basis, _ = np.linalg.qr(rng.normal(size=(n, n)))
        roots[i] = np.sqrt(rng.uniform(0.6, 1.5, size=(n, 1))) * basis  # A_i = R_iᵀ R_i
    centres[3] = 0.8 * centres[0] + 0.2 * centres[2]
    root, offset = torch.tensor(roots), torch.tensor(np.einsum("tij,tj->ti", roots, centres))
    return Problem(
        dimensions=n,
        tolerances=tuple(rng.uniform(0.05, 0.2, size=tasks)),
        losses_of=lambda theta: (root @ theta - offset).square().sum(1) / 2,
        expressions=lambda theta: [cp.sum_squares(r @ theta - r @ c) / 2 for r, c in zip(roots, centres, strict=True)],
        curvature=1.5,
        rate=2.0,
        accuracy=1e-9,
    )


def logistic(seed: int) -> Problem:
    """L_i = mean log(1 + exp(−y_i xᵀθ)) + ρ/2 |θ|²: three labels for one linear score, of 5 to 9 features."""
    rng = np.random.default_rng(100 + seed)
    n, rows, tasks, ridge = 5 + seed % 5, 80, 3, 0.01
    x = rng.normal(size=(rows, n))
    truth = rng.normal(size=(tasks, n)) / n**0.5
    signs = np.where(x @ truth.T + rng.logistic(size=(rows, tasks)) > 0, 1.0, -1.0)
    signed = signs.T[:, :, None] * x  # (tasks, rows, n)
    tensor = torch.tensor(signed)
    return Problem(
        dimensions=n,
        tolerances=tuple(rng.uniform(0.01, 0.03, size=tasks)),
        losses_of=lambda theta: softplus(-(tensor @ theta)).mean(1) + ridge / 2 * theta.square().sum(),
        expressions=lambda theta: [
            cp.sum(cp.logistic(-(s @ theta))) / rows + ridge / 2 * cp.sum_squares(theta) for s in signed
        ],
        curvature=float(np.linalg.norm(x, 2) ** 2 / (4 * rows) + ridge),
        rate=8.0,
        accuracy=1e-7,
    )


@cache
def problem_of(kind: Kind, seed: int) -> Problem:
    return quadratic(seed) if kind == "quadratic" else logistic(seed)


@cache
def descended(kind: Kind, seed: int) -> list[Solution]:
    """Solve every stage by the paper's steps, each from the previous stage's θ* and with the recorded optima."""
    problem = problem_of(kind, seed)
    theta = torch.zeros(problem.dimensions, dtype=torch.float64)
    optima: list[float] = []
    solutions = []
    for k in range(len(problem.tolerances)):
        multipliers = Multipliers(optima, rate=problem.rate, tolerance=problem.tolerances[:k])
        losses_of = partial(_first, problem, k + 1)
        theta = descend(losses_of, theta, multipliers, eta_theta=1 / problem.curvature)
        losses = losses_of(theta).numpy()
        optima.append(float(losses[k]))
        solutions.append(Solution(theta.numpy(), losses, multipliers.values.numpy(), np.empty(0)))
    return solutions


def _first(problem: Problem, tasks: int, theta: Tensor) -> Tensor:
    return problem.losses_of(theta)[:tasks]


@cache
def conic(kind: Kind, seed: int) -> list[Solution]:
    """Solve every stage by CVXPY, with its own optima; nothing is taken from the descent."""
    problem = problem_of(kind, seed)
    optima: list[float] = []
    solutions = []
    for k in range(len(problem.tolerances)):
        solutions.append(_conic_stage(problem, optima, k))
        optima.append(float(solutions[k].losses[k]))
    return solutions


def _conic_stage(problem: Problem, optima: Sequence[float], k: int) -> Solution:
    theta = cp.Variable(problem.dimensions)
    losses = problem.expressions(theta)[: k + 1]
    accuracy = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), problem.accuracy)
    limits = [cp.Parameter() for _ in optima]
    constraints = [loss <= limit for loss, limit in zip(losses[:k], limits, strict=True)]
    stage = cp.Problem(cp.Minimize(losses[k]), constraints)

    def value(tolerances: Sequence[float]) -> float:
        for limit, optimum, tolerance in zip(limits, optima, tolerances, strict=True):
            limit.value = optimum + tolerance
        return float(stage.solve(solver=cp.CLARABEL, max_step_fraction=0.9, **accuracy))

    tolerances = problem.tolerances[:k]
    prices = np.empty(k)
    for i in range(k):
        width = 0.01 * tolerances[i]
        more, less = ([*tolerances[:i], tolerances[i] + sign * width, *tolerances[i + 1 :]] for sign in (1, -1))
        prices[i] = (value(more) - value(less)) / (2 * width)
    value(tolerances)
    return Solution(
        theta=np.array(theta.value),
        losses=np.array([np.asarray(loss.value).item() for loss in losses]),
        multipliers=np.array([np.asarray(constraint.dual_value).item() for constraint in constraints]),
        prices=prices,
    )


ALPHA = 0.5
"""Weight of later tasks in the objective of a stage."""


@cache
def mixed(kind: Kind, seed: int, k: int) -> tuple[Solution, Solution]:
    """Solve stage k with later tasks in the mix, by the project's terms and steps and by CVXPY, from the same optima.

    The optima are CVXPY's of the single tasks 1 … k − 1: any numbers would do that leave the stage a feasible point.
    """
    problem = problem_of(kind, seed)
    count = len(problem.tolerances)
    optima = [float(solution.losses[-1]) for solution in conic(kind, seed)[:k]]
    theta = cp.Variable(problem.dimensions)
    losses = problem.expressions(theta)
    limits = [o + e for o, e in zip(optima, problem.tolerances[:k], strict=True)]
    constraints = [loss <= limit for loss, limit in zip(losses[:k], limits, strict=True)]
    objective = losses[k] + ALPHA * cp.sum(losses[k + 1 :]) if k + 1 < count else losses[k]
    accuracy = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), problem.accuracy)
    cp.Problem(cp.Minimize(objective), constraints).solve(solver=cp.CLARABEL, max_step_fraction=0.9, **accuracy)
    expected = Solution(
        theta=np.array(theta.value),
        losses=np.array([np.asarray(loss.value).item() for loss in losses]),
        multipliers=np.array([np.asarray(constraint.dual_value).item() for constraint in constraints]),
        prices=np.empty(0),
    )
    tasks = [binary(f"task_{number}") for number in range(count)]
    spec = ChainSpec(
        tuple((task,) for task in tasks), ModelSpec("scorer"), Settings(later_weight=ALPHA), 1, "none"
    ).stages[k + 1]
    terms = Terms(spec, torch.device("cpu"))
    multipliers = Multipliers(optima, rate=problem.rate, tolerance=problem.tolerances[:k])
    start = torch.tensor(conic(kind, seed)[max(0, k - 1)].theta)
    curvature = problem.curvature * (1 + ALPHA * (count - k - 1))
    found = descend(lambda at: terms(problem.losses_of(at)), start, multipliers, eta_theta=1 / curvature)
    values = multipliers.values.numpy()
    return Solution(found.numpy(), problem.losses_of(found).numpy(), values, np.empty(0)), expected


def assert_agree(found: Vector, expected: Vector) -> None:
    assert found.shape == expected.shape
    distance = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    assert (distance <= AGREEMENT).all(), f"{found} is not {expected}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_primal_and_dual_of_every_stage(kind: Kind, seed: int) -> None:
    """Both kinds of tasks are strongly convex, so θ itself must agree."""
    stages = list(zip(descended(kind, seed), conic(kind, seed), strict=True))
    assert len(stages) >= 3
    for found, expected in stages:
        assert_agree(found.theta, expected.theta)
        assert_agree(found.losses, expected.losses)
        assert_agree(found.multipliers, expected.multipliers)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_multipliers_are_shadow_prices(kind: Kind, seed: int) -> None:
    """dP/dε_i = −λ_i, the decrease of the objective per unit of tolerance, from CVXPY's values alone."""
    for found, oracle in zip(descended(kind, seed), conic(kind, seed), strict=True):
        active = found.multipliers > ACTIVE
        off = np.abs(oracle.prices + found.multipliers)[active]
        assert (off <= SHADOW_PRICE * found.multipliers[active]).all(), (oracle.prices, found.multipliers)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_limit_is_kept_and_slack_ones_cost_nothing(kind: Kind, seed: int) -> None:
    """Feasibility and complementary slackness, against the descent's own recorded optima."""
    stages = descended(kind, seed)
    optima = np.array([float(stage.losses[-1]) for stage in stages])
    for k, stage in enumerate(stages):
        violations = stage.losses[:k] - optima[:k] - problem_of(kind, seed).tolerances[:k]
        assert (violations <= FEASIBLE).all()
        assert (stage.multipliers * np.abs(violations) <= 10 * FEASIBLE).all()
        assert (stage.multipliers[violations < -2 * FEASIBLE] == 0).all()


def test_the_problems_have_active_and_slack_limits() -> None:
    """Otherwise the comparisons above would be weak."""
    multipliers = np.concatenate([stage.multipliers for kind in KINDS for seed in SEEDS for stage in conic(kind, seed)])
    assert (multipliers > ACTIVE).sum() >= 100
    assert (multipliers < 1e-5).sum() >= 10


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("seed", SEEDS[:6])
@pytest.mark.parametrize("kind", KINDS)
def test_later_tasks_in_the_mix(kind: Kind, seed: int, k: int) -> None:
    """Minimise L_k + α Σ L_later subject to the limits of the tasks before k: θ and λ agree."""
    found, expected = mixed(kind, seed, k)
    assert_agree(found.theta, expected.theta)
    assert_agree(found.losses, expected.losses)
    assert_agree(found.multipliers, expected.multipliers)


def test_later_tasks_change_the_answer() -> None:
    """Otherwise the comparison above would be weak."""
    moved = [
        np.abs(mixed(kind, seed, 1)[1].theta - conic(kind, seed)[1].theta).max() for kind in KINDS for seed in range(6)
    ]
    assert min(moved) > 10 * AGREEMENT
