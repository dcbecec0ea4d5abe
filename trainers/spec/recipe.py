"""Recipes: how a chain starts, what a stage minimises and what drives its multipliers, by one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nmt.trainers.spec.settings import Violations

RecipeName = Literal["joint", "paper"]


@dataclass(frozen=True)
class Recipe:
    """Values that belong together; keys of an experiment file's ``training`` may override the first four.

    Attributes:
        joint_weight: Weight of the first level in stage 0; 0: no stage 0.
        later_weight: α, weight of later tasks in the objective of a stage.
        violations: Where the multipliers' violations come from.
        eta_lambda: Learning rate of the multipliers.
        relative: Whether violations are divided by L*.
        backtracks: Restarts of a stage without protected tasks from its best model at a lower learning rate.
        constrained_backtracks: The same of a stage with protected tasks.
        retreats: Points tried between the best model and a better one that breaks a limit.
    """

    joint_weight: float
    later_weight: float
    violations: Violations
    eta_lambda: float
    relative: bool
    backtracks: int
    constrained_backtracks: int
    retreats: int


RECIPES: Mapping[RecipeName, Recipe] = {
    "joint": Recipe(0.65, 0.3, "held_out", 3.0, relative=True, backtracks=1, constrained_backtracks=3, retreats=2),
    "paper": Recipe(0.0, 0.0, "minibatch", 0.1, relative=False, backtracks=0, constrained_backtracks=0, retreats=0),
}
"""``joint``, the default: stage 0 trains all tasks together, and later tasks stay in the mix. ``paper``: Algorithm 1 as
printed, from the optimum of the first task alone, with the largest η_λ of the paper's grid."""
