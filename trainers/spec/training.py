"""The section ``training`` of an experiment file: what determines a result and a user may want to set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from nmt.trainers.records import Currency
from nmt.trainers.spec.recipe import RECIPES, RecipeName
from nmt.trainers.spec.settings import Precision, Settings, Violations, check_training

FROM_RECIPE = ("eta_lambda", "joint_weight", "later_weight", "violations")
"""Fields whose value is the recipe's when they are absent."""


@dataclass(frozen=True)
class Training:
    """How the stages of a chain are trained.

    Attributes:
        recipe: ``joint`` starts from a joint training of all tasks and keeps later tasks in the mix; ``paper`` is the
            paper's Algorithm 1. Each is a set of values (:data:`~nmt.trainers.spec.recipe.RECIPES`); ``eta_lambda``,
            ``joint_weight``, ``later_weight`` and ``violations`` override single ones.
        eta_theta: Learning rate of the model's parameters, η_θ > 0.
        eta_lambda: Learning rate of the multipliers, η_λ > 0, in units of λ per unit of violation.
        joint_weight: Weight of the first level in stage 0, in [0, 1]; the other tasks share the rest equally. 0 leaves
            stage 0 out.
        later_weight: α ≥ 0, weight of the tasks of later levels in the objective of a stage. When absent it is the
            recipe's, and 0 for a model that gives all tasks one score.
        violations: What drives the multipliers: ``held_out`` (validation batches, paired with the same samples at θ*),
            ``minibatch`` (the training minibatch, the paper's) or ``paired`` (the training minibatch, paired).
        method: ``nmt`` solves tasks by priority; ``weighted_sum``, ``famo`` and ``torchjd:NAME`` minimise all of them
            in one stage; ``nmt+famo`` and ``nmt+torchjd:NAME`` balance inside the constrained stage.
        weights: Weights of ``weighted_sum``, one per task by priority; equal ones when absent.
        method_options: Keyword arguments of a torchjd aggregator.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        max_epochs: Longest a stage may take, in passes over the training split.
        patience: Evaluations without improvement after which a stage goes back to its best model and lowers its rate,
            or ends; a third as many in a stage with protected tasks. ``null`` always takes ``max_epochs``, so that what
            a sweep or a grid costs is known before.
        accept_standard_errors: s ≥ 0 of the acceptance rule: a protected task may exceed its validation optimum by
            its tolerance plus s standard errors of the paired difference. 0 is strict.
        accept_on: ``loss`` or ``metric``: what the rule compares. A bidding team holds the loss, a ranking team the
            metric.
        precision: ``fp32``, or ``bf16`` for automatic mixed precision.
        clip_norm: Largest norm of the gradient; ``null`` does not clip.
        l2_embedding: Weight of the squared norm of the embeddings, outside the re-scaled combination. The paper's is
            1e-6; on logs with many rare ids 1e-3 delays over-fitting, which leaves later stages room to gain.
        seed: Seed of the initial parameters and of the order of the data.

    Raises:
        ValueError: A value is out of range, or two do not go together.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    recipe: RecipeName = "joint"
    eta_theta: float = 1e-3
    eta_lambda: float | None = None
    joint_weight: float | None = None
    later_weight: float | None = None
    violations: Violations | None = None
    method: str = "nmt"
    weights: tuple[float, ...] | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    max_epochs: int = 20
    patience: int | None = 6
    accept_standard_errors: float = 1.0
    accept_on: Currency = "loss"
    precision: Precision = "fp32"
    clip_norm: float | None = None
    l2_embedding: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_training(self)

    def settle(self, one_score: bool = False) -> Settings:
        """Fill in what the recipe and the model determine.

        Args:
            one_score: Whether the model gives all tasks one score. Later tasks then compete with a stage's own for the
                same ranking, and α is 0 unless it is given.
        """
        recipe = RECIPES[self.recipe]
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "recipe"}
        if one_score and self.later_weight is None:
            given["later_weight"] = 0.0
        given |= {name: getattr(recipe, name) for name in FROM_RECIPE if given[name] is None}
        takes_back = recipe.constrained_backtracks > 0
        return Settings(
            **given,
            relative=recipe.relative,
            constrained_patience=math.ceil(self.patience / 3) if self.patience and takes_back else self.patience,
            backtracks=recipe.backtracks,
            constrained_backtracks=recipe.constrained_backtracks,
            retreats=recipe.retreats,
        )
