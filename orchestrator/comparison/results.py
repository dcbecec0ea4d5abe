"""What a comparison found: methods, their trained models, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.trials.cost import Cost
from orchestrator.trials.guarantee import Guarantee
from orchestrator.trials.trial import Source
from trainers.records import StageRecord


@dataclass(frozen=True)
class ComparedTask:
    """A task, by priority.

    Attributes:
        name: Name of the task.
        level: Number of its level, from 1.
        metric: Name of the metric that is shown; ``loss`` for a task without one.
        higher_is_better: Direction of that metric.
    """

    name: str
    level: int
    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class ComparedModel:
    """One trained model.

    Attributes:
        label: What was varied: ``η_θ 0.001, η_λ 10``, ``0.2 : 0.4 : 1``, ``equal weights``, ``pay alone``, ``famo``.
        source: Where it comes from.
        method: Name of the method, as experiment files give it.
        eta_theta: Learning rate of the parameters.
        eta_lambda: Learning rate of the multipliers; ``None`` where there are none.
        weights: Loss weights, one per task; ``None`` where there are none.
        valid: Task → validation metric at the end; a task that the model does not have is absent.
        test: Task → test metric at the end, likewise.
        test_loss: Task → mean test loss at the end, likewise.
        guarantee: How it stands to the protected tasks: against their recorded optima in NMT's winning chain.
        worst_task: The protected task that is furthest beyond its limit or closest to it, ``None`` if nothing is known.
        winner: Whether it is the lexicographic winner of its source (for ``method`` and ``baseline``: of its label).
        cost: What it cost.
        run_id: Its run in MLflow.
    """

    label: str
    source: Source
    method: str
    eta_theta: float
    eta_lambda: float | None
    weights: tuple[float, ...] | None
    valid: Mapping[str, float]
    test: Mapping[str, float]
    test_loss: Mapping[str, float]
    guarantee: Guarantee
    worst_task: str | None
    winner: bool
    cost: Cost
    run_id: str | None = None


@dataclass(frozen=True)
class MethodRow:
    """One line of the comparison's table.

    Attributes:
        name: ``NMT, 3 × 3 learning rates``, ``grid, 5 weights a task``, ``equal weights``, ``pay alone``, ``famo``.
        source: Where its models come from.
        cost: What was really spent on all of its trials.
        chosen: Its lexicographic winner, whose metrics are shown; ``None`` when nothing was finished.
        planned_trials: Trials of the whole method; more than ``cost.trials`` where only some were trained.
        planned_samples: Samples of the whole method with nothing in the storage: of each of its stages once, however
            many trials share it; extrapolated where only some of its trials were trained.
        planned_worker_seconds: Worker-seconds of each of its stages once, as counted when it was trained, by whatever
            run; those of ``cost`` when absent.
    """

    name: str
    source: Source
    cost: Cost
    chosen: ComparedModel | None
    planned_trials: int
    planned_samples: int
    planned_worker_seconds: float | None = None

    @property
    def worker_seconds(self) -> float:
        """Worker-seconds of each of its stages once."""
        return self.cost.worker_seconds if self.planned_worker_seconds is None else self.planned_worker_seconds

    @property
    def extrapolated(self) -> bool:
        """Whether only some of the trials were trained, so that the whole cost is an extrapolation."""
        return self.planned_trials > self.cost.trials


@dataclass(frozen=True)
class CostPoint:
    """What a method costs for a number of tasks.

    Attributes:
        method: ``NMT`` or, for instance, ``grid, p = 10``.
        tasks: Number of tasks, m.
        trials: Trainings of whole chains or of weightings.
        samples: Training examples, over all of them.
        measured: Whether it was trained and counted; otherwise predicted.
    """

    method: str
    tasks: int
    trials: int
    samples: int
    measured: bool


@dataclass(frozen=True)
class Comparison:
    """A whole comparison.

    Attributes:
        name: Name of the experiment.
        data: Short description of the data, such as its source.
        tasks: Tasks by priority.
        models: Every trained model.
        rows: One per method, NMT first.
        costs: Cost against the number of tasks, measured and predicted.
        chain: Stage records of NMT's winning chain, whose multipliers are drawn.
        exact_samples: Whether predicted samples are exact (stages have a fixed length); otherwise upper bounds.
    """

    name: str
    data: str
    tasks: tuple[ComparedTask, ...]
    models: tuple[ComparedModel, ...]
    rows: tuple[MethodRow, ...]
    costs: tuple[CostPoint, ...]
    chain: tuple[StageRecord, ...]
    exact_samples: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content, without the stage records; what is not a finite number is ``None``."""
        content: dict[str, Any] = _finite(self._content())
        return content

    def _content(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "data": self.data,
            "tasks": [asdict(task) for task in self.tasks],
            "rows": [{**asdict(row), "extrapolated": row.extrapolated} for row in self.rows],
            "models": [asdict(model) for model in self.models],
            "costs": [asdict(point) for point in self.costs],
            "exact_samples": self.exact_samples,
        }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
