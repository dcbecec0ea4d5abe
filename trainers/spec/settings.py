"""Every value that a stage is trained with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from nmt.trainers.methods.names import TORCHJD, WEIGHTED_SUM, check_method
from nmt.trainers.records import Currency

Precision = Literal["fp32", "bf16"]

Violations = Literal["held_out", "minibatch", "paired"]
"""Where the violations come from that drive the multipliers: batches of the validation split, paired with the same
samples' losses at θ*; the training minibatch against L*, as in the paper; or the training minibatch, paired."""


@dataclass(frozen=True)
class Settings:
    """Every value that a stage is trained with; the key of a stage is a hash of them.

    Experiment files give the few that anybody may want to set (:class:`~nmt.trainers.spec.training.Training`); the
    others follow from the recipe or are constants of the method.

    Attributes:
        eta_theta: Learning rate of the model's parameters, η_θ > 0.
        eta_lambda: Learning rate of the multipliers, η_λ > 0, in units of λ per unit of violation.
        joint_weight: Weight of the first level in stage 0, the joint start, in [0, 1]; the other tasks share the rest.
            0: no stage 0, so that stage 1 starts from the initial parameters.
        later_weight: α ≥ 0, weight of the tasks of later levels in the objective of a stage.
        violations: Where the multipliers' violations come from.
        relative: Whether a violation is divided by L*, which frees η_λ of the loss's scale.
        measure_every: With ``held_out`` violations, optimisation steps between two measurements.
        measured_share: With ``held_out`` violations, examples of a measurement as a share of a global batch, in (0, 1].
        initial_multiplier: λ_0 ≥ 0, the multipliers' value at the start of each stage.
        proportional: κ_P ≥ 0 of the ν-PI rule (:func:`~nmt.trainers.pi_rule.proportional_step`), in units of λ per unit
            of violation; 0 is plain gradient ascent.
        smoothing: ν in (−1, 1) of the ν-PI rule.
        method: ``nmt`` solves tasks by priority; ``weighted_sum``, ``famo`` and ``torchjd:NAME`` minimise all of them
            in one stage; ``nmt+famo`` and ``nmt+torchjd:NAME`` balance inside the constrained stage.
        weights: Weights of ``weighted_sum``, one per task by priority; equal ones when absent.
        method_options: Keyword arguments of a torchjd aggregator.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        max_epochs: Longest a stage may take, in passes over the training split.
        patience: Evaluations without improvement after which a stage backtracks or ends; ``None`` always takes
            ``max_epochs``.
        constrained_patience: The same in a stage with protected tasks.
        min_delta: Smallest decrease of the validation loss that counts as improvement, in units of the loss.
        backtracks: Times that a stage, when its patience is over, goes back to its best feasible candidate and on from
            there with a fresh optimiser at ``decay`` times the learning rate, before it ends. λ is kept.
        constrained_backtracks: The same in a stage with protected tasks. It starts beside its limits: steps that leave
            them are taken back soon, and tried again smaller.
        decay: Factor of the learning rate η_θ at each backtrack, in (0, 1).
        retreats: Points tried between the best feasible candidate and one with a better objective that breaks a limit:
            half of the way, a quarter, …, until one is feasible. Near θ* the loss of a protected task grows with the
            square of the way and the objective falls with the way itself.
        accept_standard_errors: s ≥ 0 of the acceptance rule: a protected task may exceed its validation optimum by
            its tolerance plus s standard errors of the paired difference. 0 is strict.
        accept_on: Whether the rule looks at the loss or at the metric of a protected task.
        precision: Arithmetic of the model's forward and backward passes: ``fp32``, or ``bf16`` for automatic mixed
            precision. Losses and multipliers are computed in single precision either way.
        clip_norm: Largest norm of the gradient; ``None`` does not clip.
        l2_embedding: Weight of the squared norm of the embeddings, outside the re-scaled combination.
        seed: Seed of the initial parameters and of the order of the data.

    Raises:
        ValueError: A value is out of range, or two do not go together.
    """

    eta_theta: float = 1e-3
    eta_lambda: float = 3.0
    joint_weight: float = 0.65
    later_weight: float = 0.3
    violations: Violations = "held_out"
    relative: bool = True
    measure_every: int = 4
    measured_share: float = 0.25
    initial_multiplier: float = 1.0
    proportional: float = 0.0
    smoothing: float = 0.0
    method: str = "nmt"
    weights: tuple[float, ...] | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    max_epochs: int = 20
    patience: int | None = 6
    constrained_patience: int | None = 2
    min_delta: float = 0.0
    backtracks: int = 1
    constrained_backtracks: int = 3
    decay: float = 0.2
    retreats: int = 2
    accept_standard_errors: float = 1.0
    accept_on: Currency = "loss"
    precision: Precision = "fp32"
    clip_norm: float | None = None
    l2_embedding: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_training(self)
        require(self, "at least 0", lambda v: v >= 0, "initial_multiplier", "proportional", "min_delta")
        require(self, "at least 0", lambda v: v >= 0, "backtracks", "constrained_backtracks", "retreats")
        require(self, "at least 1", lambda v: v >= 1, "measure_every", "constrained_patience")
        require(self, "greater than 0 and at most 1", lambda v: 0 < v <= 1, "measured_share")
        require(self, "between 0 and 1", lambda v: 0 < v < 1, "decay")
        require(self, "between -1 and 1", lambda v: -1 < v < 1, "smoothing")
        if self.smoothing and not self.proportional:
            raise ValueError("smoothing belongs to the proportional part of the multipliers; give proportional too")


CONSTRAINT_FIELDS = (
    "eta_lambda",
    "violations",
    "relative",
    "measure_every",
    "measured_share",
    "initial_multiplier",
    "proportional",
    "smoothing",
    "constrained_patience",
    "constrained_backtracks",
    "retreats",
    "accept_standard_errors",
    "accept_on",
)
"""Fields that a stage without protected tasks does not depend on; they stay out of its key."""


def check_training(training: Any) -> None:
    """Check the values that :class:`Settings` and :class:`~nmt.trainers.spec.training.Training` have in common.

    Raises:
        ValueError: A value is out of range, or two do not go together.
    """
    require(training, "greater than 0", lambda v: v > 0, "eta_theta", "eta_lambda", "clip_norm")
    require(training, "at least 0", lambda v: v >= 0, "later_weight", "accept_standard_errors", "l2_embedding", "seed")
    require(training, "at least 1", lambda v: v >= 1, "max_epochs", "patience")
    require(training, "at least 0 and at most 1", lambda v: 0 <= v <= 1, "joint_weight")
    check_method(training.method)
    weights = training.weights
    if weights is not None and training.method != WEIGHTED_SUM:
        raise ValueError(f"weights belong to method weighted_sum, found method {training.method!r}")
    if weights is not None and not (all(w >= 0 for w in weights) and 0 < sum(weights) < math.inf):
        raise ValueError(f"weights must be at least 0 and not all 0, found {list(weights)}")
    if training.method_options and TORCHJD not in training.method:
        raise ValueError(f"method_options belong to an aggregator of torchjd, found method {training.method!r}")


def require(values: Any, what: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Check fields of a dataclass; a field that is ``None`` passes.

    Args:
        values: The dataclass.
        what: What each field must be, for the message.
        holds: Whether a value is so.
        names: Names of the fields.

    Raises:
        ValueError: A field is not finite, or not so.
    """
    known = {f.name for f in fields(values)}
    for name in names:
        assert name in known
        value = getattr(values, name)
        if value is not None and not (math.isfinite(value) and holds(value)):
            raise ValueError(f"{name} must be a finite number {what}, found {value}")
