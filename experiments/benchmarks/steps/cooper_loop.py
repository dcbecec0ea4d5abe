"""The rival: the same constrained problem in Cooper, a library for constrained optimisation in PyTorch."""

from __future__ import annotations

from typing import Any

import cooper
import torch
from torch import optim

from nmt.experiments.benchmarks.steps.bare_loop import BareLoop
from nmt.experiments.benchmarks.steps.problem import Problem, parameter_groups
from nmt.experiments.benchmarks.steps.stage_steps import OPTIMUM
from nmt.trainers.data.batch import Batch


class CooperLoop:
    """The bare loop with a simultaneous primal-dual step as in Cooper's documentation.

    It minimises the last task's loss subject to ℓ_i − L*_i − ε_i ≤ 0 for the others: one inequality constraint with a
    vector of multipliers, Adam on θ, projected gradient ascent on λ.

    Args:
        problem: What to train.
    """

    def __init__(self, problem: Problem) -> None:
        loop = BareLoop(problem)
        training = problem.training
        protected = len(problem.tasks) - 1
        self.model = loop.model
        self._loop = loop
        self.multiplier = cooper.multipliers.DenseMultiplier(
            init=torch.full((protected,), training.initial_multiplier), device=problem.device
        )
        constraint = cooper.Constraint(
            constraint_type=cooper.ConstraintType.INEQUALITY,
            formulation_type=cooper.formulations.Lagrangian,
            multiplier=self.multiplier,
        )
        limits = torch.tensor([OPTIMUM + task.tolerance for task in problem.tasks[:-1]], device=problem.device)

        class Constrained(cooper.ConstrainedMinimizationProblem):  # type: ignore[misc, name-defined, unused-ignore]
            """The problem in Cooper's form."""

            def __init__(self) -> None:
                super().__init__()
                self.constraint = constraint

            def compute_cmp_state(self, batch: Batch) -> Any:
                """Return objective and violations of a minibatch."""
                losses = loop.losses(batch)
                return cooper.CMPState(
                    loss=losses[-1],
                    observed_constraints={self.constraint: cooper.ConstraintState(violation=losses[:-1] - limits)},
                )

        constrained = Constrained()
        self._optimizer = cooper.optim.SimultaneousOptimizer(
            cmp=constrained,
            primal_optimizers=optim.Adam(
                parameter_groups(self.model, 2 * training.l2_embedding), lr=training.eta_theta, fused=True
            ),
            dual_optimizers=optim.SGD(constrained.dual_parameters(), lr=training.eta_lambda, maximize=True),
        )

    def step(self) -> None:
        """Take one step on θ and on λ."""
        self._optimizer.roll(compute_cmp_state_kwargs={"batch": self._loop.batch()})
