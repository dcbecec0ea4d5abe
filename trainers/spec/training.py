"""How stages are trained: learning rates, budget, evaluation and stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from trainers.methods.names import TORCHJD, WEIGHTED_SUM, check_method

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Training:
    """Training options of a chain; every field belongs to the key of the stages that it influences.

    The defaults are those that serve on logs which over-fit within a few epochs, where a rare task is to be held:
    violations are relative, so that η_λ does not depend on the scale of a loss, and measured on held-out batches, since
    over-fitting hides them from the training minibatch. The paper's update is ``violation: absolute``,
    ``measured_on: train`` and an ``eta_lambda`` of 0.01 to 0.1; it gains nothing there
    (``experiments.benchmarks.kuairand_priority`` compares the two).

    Attributes:
        eta_theta: Learning rate of the model's parameters, η_θ > 0.
        eta_lambda: Learning rate of the multipliers, η_λ > 0, in units of λ per unit of violation.
        initial_multiplier: λ_0 ≥ 0, the multipliers' value at the start of each stage.
        proportional: κ_P ≥ 0, in units of λ per unit of violation: above 0 the multipliers follow the ν-PI rule
            (:func:`~trainers.pi_rule.proportional_step`), which damps their swing; 0 is plain gradient ascent.
        smoothing: ν in (−1, 1), of the average violation that the proportional part looks at.
        violation: ``absolute`` (ℓ − L* − ε, the paper's) or ``relative`` (the same divided by L*).
        measured_on: Split on which the multipliers' violations are measured: ``train`` (the paper's) or ``valid``.
        paired: Whether a violation is the mean difference to the same samples' losses at θ* (always so on ``valid``).
        measure_every: With ``measured_on: valid``, optimisation steps between two measurements.
        method: ``nmt`` solves tasks by priority; ``weighted_sum``, ``famo`` and ``torchjd:NAME`` minimise all of them
            in one stage; ``nmt+famo`` and ``nmt+torchjd:NAME`` balance inside the constrained stage.
        weights: Weights of ``weighted_sum``, one per task by priority; equal ones when absent.
        method_options: Keyword arguments of a torchjd aggregator.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        max_epochs: Longest a stage may take, in passes over the training split.
        patience: Evaluations without improvement after which a stage ends; ``None`` always takes ``max_epochs``, so
            that what a sweep or a grid costs is known before.
        backtracks: Times that a stage, when its patience is over, goes back to its best feasible candidate and on from
            there with a fresh optimiser at ``decay`` times the learning rate, before it ends. λ is kept.
        decay: Factor of the learning rate η_θ at each backtrack, in (0, 1).
        retreats: Points tried between the best feasible candidate and one with a better objective that breaks a limit:
            half of the way, a quarter, …, until one is feasible. Near θ* the loss of a protected task grows with the
            square of the way and the objective falls with the way itself.
        min_delta: Smallest decrease of the validation loss that counts as improvement, in units of the loss.
        evaluations_per_epoch: Evaluations, each yielding a candidate, per pass over the training split. ``None`` takes
            as many, from 1 to 6, as cost about a tenth of the time of the steps
            (:func:`~trainers.evaluation.pace.evaluations_per_epoch`). More are worth their time on data that over-fit
            within an epoch.
        accept_standard_errors: s ≥ 0 of the acceptance rule: a protected task may exceed its validation optimum by
            its tolerance plus s standard errors of the paired difference. 0 is strict.
        precision: Arithmetic of the model's forward and backward passes: ``fp32``, or ``bf16`` for automatic mixed
            precision. Losses and multipliers are computed from single precision either way.
        compile: Whether training steps run through ``torch.compile``. Evaluations do not. Compiling takes up to a
            minute at the start of a stage, less where the compiler's cache on disk knows the model.
        clip_norm: Largest norm of the gradient; ``None`` does not clip.
        l2_embedding: Weight of the squared norm of the embeddings, outside the re-scaled combination. The paper's is
            1e-6; on logs with many rare ids 1e-3 puts off over-fitting, which leaves later stages room to gain.
        record_every: Optimisation steps between two recorded rows of losses and multipliers.
        checkpoint_every: Optimisation steps between two checkpoints of a stage that is being trained; 0 keeps none, so
            that a stage that is cut off starts anew.
        certificate_examples: Training examples, over all workers, behind the gradients of a stage's certificate,
            rounded up to whole global batches; 0 leaves the gradients out.
        seed: Seed of the initial parameters and of the order of the data.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    eta_theta: float = 1e-3
    eta_lambda: float = 3.0
    initial_multiplier: float = 1.0
    proportional: float = 0.0
    smoothing: float = 0.0
    violation: Literal["absolute", "relative"] = "relative"
    measured_on: Literal["train", "valid"] = "valid"
    paired: bool = False
    measure_every: int = 4
    method: str = "nmt"
    weights: tuple[float, ...] | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    max_epochs: int = 20
    patience: int | None = 6
    backtracks: int = 1
    decay: float = 0.2
    retreats: int = 2
    min_delta: float = 0.0
    evaluations_per_epoch: int | None = None
    accept_standard_errors: float = 1.0
    precision: Precision = "fp32"
    compile: bool = False
    clip_norm: float | None = None
    l2_embedding: float = 1e-3
    record_every: int = 1
    checkpoint_every: int = 500
    certificate_examples: int = 16_384
    seed: int = 0

    def __post_init__(self) -> None:
        not_negative = (
            "initial_multiplier",
            "proportional",
            "min_delta",
            "accept_standard_errors",
            "l2_embedding",
            "seed",
            "backtracks",
            "retreats",
            "certificate_examples",
            "checkpoint_every",
        )
        counts = ("max_epochs", "patience", "evaluations_per_epoch", "record_every", "measure_every")
        _require(self, "greater than 0", lambda v: v > 0, "eta_theta", "eta_lambda", "clip_norm")
        _require(self, "at least 0", lambda v: v >= 0, *not_negative)
        _require(self, "at least 1", lambda v: v >= 1, *counts)
        _require(self, "between 0 and 1", lambda v: 0 < v < 1, "decay")
        _require(self, "between -1 and 1", lambda v: -1 < v < 1, "smoothing")
        if self.smoothing and not self.proportional:
            raise ValueError("smoothing belongs to the proportional part of the multipliers; give proportional too")
        check_method(self.method)
        if self.weights is not None and self.method != WEIGHTED_SUM:
            raise ValueError(f"weights belong to method weighted_sum, found method {self.method!r}")
        if self.weights is not None and not (all(w >= 0 for w in self.weights) and 0 < sum(self.weights) < math.inf):
            raise ValueError(f"weights must be at least 0 and not all 0, found {list(self.weights)}")
        if self.compile and TORCHJD in self.method:
            raise ValueError(
                f"compile: a compiled model gives one gradient a step, and method {self.method!r} needs one for each "
                "task; leave compile out"
            )
        if self.method_options and TORCHJD not in self.method:
            raise ValueError(f"method_options belong to an aggregator of torchjd, found method {self.method!r}")


MULTIPLIER_FIELDS = (
    "eta_lambda",
    "initial_multiplier",
    "proportional",
    "smoothing",
    "violation",
    "measured_on",
    "paired",
    "retreats",
    "measure_every",
    "accept_standard_errors",
)
"""Fields that a stage without protected tasks does not depend on; they stay out of its key."""

RECORDING_FIELDS = ("record_every", "checkpoint_every", "certificate_examples")
"""Fields that change what is written down, and nothing of the result."""


def _require(training: Training, what: str, holds: Any, *names: str) -> None:
    known = {f.name for f in fields(training)}
    for name in names:
        assert name in known
        value = getattr(training, name)
        if value is not None and not (math.isfinite(value) and holds(value)):
            raise ValueError(f"{name} must be a finite number {what}, found {value}")
