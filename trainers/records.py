"""What a finished stage is remembered by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nmt.trainers.certificate import Certificate

Currency = Literal["loss", "metric"]
"""What the acceptance rule compares of a protected task."""


@dataclass(frozen=True)
class Optimum:
    """The recorded optimum of a task: its mean loss at the accepted θ* of the stage that solved it; frozen.

    Attributes:
        task: The task.
        train: L*, over the whole training split, measured in the forward mode that the steps use.
        train_samples: Labelled samples behind ``train``.
        valid: The same over the validation split, in evaluation mode; what the acceptance rule compares with.
        valid_samples: Labelled samples behind ``valid``.
        mode: Forward mode of ``train``.
    """

    task: str
    train: float
    train_samples: int
    valid: float
    valid_samples: int
    mode: str = "train"


@dataclass(frozen=True)
class Deviation:
    """How far a model is from a task's optimum in one quantity, and whether the acceptance rule allows it.

    Attributes:
        quantity: ``loss``, or the name of a metric.
        reference: The quantity at the task's own accepted θ*.
        value: The model's.
        difference: ``value`` minus ``reference``.
        standard_error: Standard error of ``difference``, paired.
        allowed: Most that the model may be worse.
        held: Whether it is no worse than that, up to rounding.
        higher_is_better: Direction of the quantity.
    """

    quantity: str
    reference: float
    value: float
    difference: float
    standard_error: float
    allowed: float
    held: bool
    higher_is_better: bool = False

    @property
    def worse(self) -> float:
        """How much worse the model is than the optimum; negative where it is better."""
        return -self.difference if self.higher_is_better else self.difference


@dataclass(frozen=True)
class Verdict:
    """How a candidate stands to one protected task on one split.

    Attributes:
        task: The protected task.
        split: Split of the measurement.
        optimum: L*, the task's mean loss at its own accepted θ*.
        value: L(θ), the candidate's mean loss.
        difference: L(θ) − L*, the mean of the paired sample differences.
        standard_error: Standard error of ``difference``. Examples, not samples, are the independent units: the pairs
            of one list share its items.
        allowed: Largest difference that the rule accepts, ε + s · SE.
        held: Whether ``difference ≤ allowed``, up to rounding.
        metric: The same for the task's metric, with DeLong's standard error for an AUC and a paired bootstrap's for
            others; ``None`` where it was not compared, or is undefined.
        accept_on: Which of the two decides.
    """

    task: str
    split: str
    optimum: float
    value: float
    difference: float
    standard_error: float
    allowed: float
    held: bool
    metric: Deviation | None = None
    accept_on: Currency = "loss"

    @property
    def loss(self) -> Deviation:
        """The comparison of losses."""
        return Deviation(
            "loss", self.optimum, self.value, self.difference, self.standard_error, self.allowed, self.held
        )

    @property
    def deciding(self) -> Deviation:
        """The comparison that decides: of metrics if the rule looks at these and the task has one, else of losses."""
        return self.metric if self.accept_on == "metric" and self.metric is not None else self.loss

    @property
    def kept(self) -> bool:
        """Whether the task is within its limit."""
        return self.deciding.held


@dataclass(frozen=True)
class Candidate:
    """One evaluation inside a stage.

    Attributes:
        step: Optimisation steps of the stage so far.
        losses: Task → validation loss.
        metrics: Task → validation metric.
        verdicts: How it stands to the protected tasks.
        feasible: Whether every verdict held.
        accepted: Whether it became the best feasible candidate so far; the stage's winner is at its ``accepted_step``.
        share: Share of the way from the best feasible candidate to the trained parameters; below 1 for a retreat.
    """

    step: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    verdicts: tuple[Verdict, ...]
    feasible: bool
    accepted: bool
    share: float = 1.0

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads; a non-finite number is stored as ``null``."""
        return json.dumps(null_non_finite(asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        """Read a candidate; a ``null`` is NaN."""
        return cls._of(_with_nan(json.loads(text)))

    @classmethod
    def _of(cls, raw: Mapping[str, Any]) -> Candidate:
        return cls(**{**raw, "verdicts": _verdicts(raw["verdicts"])})


@dataclass(frozen=True)
class Row:
    """Averages over the optimisation steps since the row before.

    Attributes:
        step: Optimisation steps of the stage so far.
        losses: Task → mean loss of the global minibatches; tasks of the stage only.
        violations: Protected task → mean signed violation.
        multipliers: Protected task → λ after the step.
    """

    step: int
    losses: Mapping[str, float]
    violations: Mapping[str, float]
    multipliers: Mapping[str, float]


@dataclass(frozen=True)
class StageRecord:
    """The result of one stage, beside its checkpoint.

    Attributes:
        key: Memoisation key.
        parent: Key of the stage before, or ``None``.
        stage: Place of the stage in its chain, from 0.
        number: What people call it: 0 for the joint start, k for the stage that solves level k.
        level: Tasks that the stage solved; none for the joint start.
        objective: Task → weight in the objective: those of ``level``, and later ones that stayed in the mix.
        protected: Tasks that it held at their optima.
        optima: Optima of the level's tasks.
        verdicts: How the accepted model stands to the protected tasks, on the validation and on the test split.
        multipliers: Protected task → λ at the end of the stage.
        losses: Split → task → mean loss at the accepted θ*, for every task of the chain.
        metrics: Split → task → metric at the accepted θ*.
        metric_names: Task → name of its metric.
        accepted_step: Step of the accepted candidate; 0 is the stage's starting point.
        steps: Optimisation steps of the stage.
        samples: Training examples that those steps saw, over all workers.
        steps_per_epoch: Global batches of one pass.
        ended_by: ``plateau`` or ``max_epochs``.
        wall_seconds: Time that the stage took.
        workers: Number of workers.
        candidates: Evaluations, in order.
        rows: History of losses, violations and multipliers.
        certificate: How θ* stands to the optimality conditions; ``None`` where none was made.
        seconds: What ``wall_seconds`` went to on the first worker: ``start``, ``steps``, ``evaluation``,
            ``checkpoints``, ``certificate``.
        trained_by: UUID of the run that trained the stage; empty where runs have none.
        live: Protected tasks whose limit was the live model's loss rather than an optimum of their own.
        against_live: How the accepted model stands to the live model, on the validation and on the test split.
        constants: Split → task → loss of the best constant prediction; of the first stage of a chain only.
    """

    key: str
    parent: str | None
    stage: int
    number: int
    level: tuple[str, ...]
    objective: Mapping[str, float]
    protected: tuple[str, ...]
    optima: tuple[Optimum, ...]
    verdicts: tuple[Verdict, ...]
    multipliers: Mapping[str, float]
    losses: Mapping[str, Mapping[str, float]]
    metrics: Mapping[str, Mapping[str, float]]
    metric_names: Mapping[str, str]
    accepted_step: int
    steps: int
    samples: int
    steps_per_epoch: int
    ended_by: str
    wall_seconds: float
    workers: int
    candidates: tuple[Candidate, ...]
    rows: tuple[Row, ...]
    certificate: Certificate | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    trained_by: str = ""
    live: tuple[str, ...] = ()
    against_live: tuple[Verdict, ...] = ()
    constants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether every protected task is within its limit on the validation split: the guarantee."""
        return all(verdict.kept for verdict in self.verdicts if verdict.split == "valid")

    @property
    def gained(self) -> bool:
        """Whether any step was accepted; a stage that gains nothing returns its starting point."""
        return self.accepted_step > 0

    @property
    def accepted_evaluation(self) -> Literal["start", "first", "last", "between"]:
        """Which evaluation was accepted: the starting point, the first or the last one after it, or one between."""
        steps = [candidate.step for candidate in self.candidates if candidate.step > 0] or [self.steps]
        if not self.gained:
            return "start"
        if self.accepted_step == steps[-1]:
            return "last"
        return "first" if self.accepted_step == steps[0] else "between"

    @property
    def converged(self) -> bool:
        """Whether the stage ended because nothing improved, not because its budget did while it still improved."""
        return not (self.ended_by == "max_epochs" and self.accepted_evaluation == "last")

    def verdict(self, task: str, split: str) -> Verdict | None:
        """The verdict on a protected task, if the stage protects it."""
        return next((v for v in self.verdicts if v.task == task and v.split == split), None)

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads; a non-finite number is stored as ``null``."""
        return json.dumps(null_non_finite(asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> StageRecord:
        """Read a record; a ``null`` where a number belongs is NaN."""
        content: dict[str, Any] = json.loads(text)
        raw: dict[str, Any] = {
            name: None if value is None and name in ("parent", "certificate") else _with_nan(value)
            for name, value in content.items()
        }
        raw["level"] = tuple(raw["level"])
        raw["protected"] = tuple(raw["protected"])
        raw["optima"] = tuple(Optimum(**value) for value in raw["optima"])
        raw["live"] = tuple(raw["live"])
        raw["verdicts"], raw["against_live"] = _verdicts(raw["verdicts"]), _verdicts(raw["against_live"])
        raw["candidates"] = tuple(Candidate._of(value) for value in raw["candidates"])
        raw["rows"] = tuple(Row(**value) for value in raw["rows"])
        if raw.get("certificate") is not None:
            found = raw["certificate"]
            raw["certificate"] = Certificate(**{**found, "not_attainable": tuple(found["not_attainable"])})
        return cls(**raw)


def _verdicts(raw: list[dict[str, Any]]) -> tuple[Verdict, ...]:
    return tuple(Verdict(**{**value, "metric": _deviation(value.get("metric"))}) for value in raw)


def _deviation(raw: Any) -> Deviation | None:
    return Deviation(**raw) if isinstance(raw, dict) else None


def _with_nan(value: Any) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return value


def null_non_finite(value: Any) -> Any:
    """Return the value with ``None`` in place of every float that is not finite, at any depth, for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: null_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_non_finite(item) for item in value]
    return value
