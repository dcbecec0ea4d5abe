"""The result of a comparison: methods, their trained models, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nmt.orchestrator.summary.limits import worst_verdict
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.guarantee import Guarantee
from nmt.orchestrator.trials.trial import Source
from nmt.trainers.records import StageRecord, Verdict, null_non_finite


@dataclass(frozen=True)
class ComparedTask:
    """A task of a comparison.

    Attributes:
        name: Name of the task.
        level: Number of its level, from 1.
        metric: Name of the metric shown; ``loss`` for a task without a metric.
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
        label: What varies: ``η_θ 0.001, η_λ 10``, ``0.2 : 0.4 : 1``, ``equal weights``, ``pay alone``, ``famo``.
        source: Where it comes from.
        method: Name of the method, as in an experiment file.
        eta_theta: Learning rate of the parameters.
        eta_lambda: Learning rate of the multipliers; ``None`` where there are none.
        weights: Loss weights, one per task; ``None`` where there are none.
        valid: Task → final validation metric; a task that the model does not have is absent.
        test: Task → final test metric, likewise.
        test_loss: Task → final mean test loss, likewise.
        guarantee: Whether it keeps the protected tasks within their limits, from the optima of NMT's winning chain.
        verdicts: How it stands to each protected task, in loss and in metric, on ``valid`` and on ``test``; none where
            the guarantee is unknown.
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
    verdicts: tuple[Verdict, ...]
    winner: bool
    cost: Cost
    run_id: str | None = None

    @property
    def worst_task(self) -> str | None:
        """The protected task that is furthest beyond its limit or closest to it; ``None`` if unknown."""
        found = worst_verdict(self.verdicts)
        return None if found is None else found.task


@dataclass(frozen=True)
class MethodRow:
    """One line of the comparison's table.

    Attributes:
        name: ``NMT, 3 × 3 learning rates``, ``grid, 5 weights a task``, ``equal weights``, ``pay alone``, ``famo``.
        source: Where its models come from.
        cost: What was spent on all of its trials.
        chosen: Its lexicographic winner, whose metrics are shown; ``None`` when no trial finished.
        planned_trials: Trials of the whole method; more than ``cost.trials`` where only some were trained.
        planned_samples: Samples of the whole method from an empty storage, counting once a stage that trials share;
            extrapolated where only some of its trials were trained.
        planned_worker_seconds: Worker-seconds of its stages, counting each once, as measured by the run that trained
            it; those of ``cost`` when absent.
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
        """Worker-seconds of its stages, counting each once."""
        return self.cost.worker_seconds if self.planned_worker_seconds is None else self.planned_worker_seconds

    @property
    def extrapolated(self) -> bool:
        """Whether only some of the trials were trained, so that the cost of the method is extrapolated."""
        return self.planned_trials > self.cost.trials


@dataclass(frozen=True)
class CostPoint:
    """What a method costs for a number of tasks.

    Attributes:
        method: ``NMT`` or, for instance, ``grid, p = 10``.
        tasks: Number of tasks, m.
        trials: Number of chains or weightings trained.
        samples: Training examples over all trials.
        measured: Whether the samples were counted in training; otherwise they are predicted.
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
        rows: One row per method, NMT first.
        costs: Cost against the number of tasks, measured and predicted.
        chain: Stage records of NMT's winning chain, for the figure of the multipliers.
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
        """Return the JSON-ready content, without the stage records; a number that is not finite is ``None``."""
        content: dict[str, Any] = {
            "name": self.name,
            "data": self.data,
            "tasks": [asdict(task) for task in self.tasks],
            "rows": [{**asdict(row), "extrapolated": row.extrapolated} for row in self.rows],
            "models": [asdict(model) for model in self.models],
            "costs": [asdict(point) for point in self.costs],
            "exact_samples": self.exact_samples,
        }
        finite: dict[str, Any] = null_non_finite(content)
        return finite
