"""A trial: one chain of a sweep, or one weighting of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from nmt.orchestrator.trials.cost import Cost
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.stage_spec import StageSpec

Source = Literal["sweep", "grid", "baseline", "method"]
"""Origin of a model: NMT's sweep of learning rates, the grid of loss weights, the grid's baselines (equal weights,
single-task models), or a named method."""

Status = Literal["finished", "diverged", "failed", "stopped"]
"""``diverged``: a number was not finite, a finding about the learning rate. ``stopped``: by a stop criterion, the time
budget or another trial's failure."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        label: The values that vary, such as ``η_θ 0.001, η_λ 10`` or ``0.2 : 0.4 : 1``.
        source: Origin of the model in a comparison.
        spec: What to compute.
        method: Name of the method in a comparison.
        weights: Loss weights over all tasks of the experiment, if it has any.
        stages: Number of stages to train; all by default.
    """

    label: str
    source: Source
    spec: ChainSpec
    method: str
    weights: tuple[float, ...] | None = None
    stages: int | None = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of the stages to train."""
        return self.spec.stage_keys()[: self.stages]

    @property
    def _stages(self) -> tuple[StageSpec, ...]:
        return self.spec.stages[: self.stages]

    @property
    def levels(self) -> list[list[str]]:
        """Names of the tasks that each wanted stage minimises."""
        return [[task.name for task in stage.level] for stage in self._stages]

    @property
    def short(self) -> str:
        """The label in :func:`short_label`'s form."""
        return short_label(self.label)

    @property
    def eta_theta(self) -> float:
        """Learning rate of the parameters in the last stage to train."""
        return self._stages[-1].settings.eta_theta

    @property
    def eta_lambda(self) -> float | None:
        """Learning rate of the multipliers in the last stage to train; ``None`` where nothing is ever protected."""
        protecting = [stage for stage in self.spec.stages if stage.protected]
        return self._stages[-1].settings.eta_lambda if protecting else None

    @property
    def params(self) -> Mapping[str, str]:
        """Comparable params, the same keys for every kind of run: MLflow drops a run without them from comparisons."""
        protecting = [stage.settings.eta_lambda for stage in self._stages if stage.protected]
        return {
            "method": self.method,
            "eta_theta": _rates([stage.settings.eta_theta for stage in self._stages]),
            "eta_lambda": _rates(protecting) if protecting else "none",
            "weights": weights_text(self.weights) if self.weights is not None else "none",
        }


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Attributes:
        trial: The trial.
        records: Records of its finished stages, in order.
        cost: Cost of the trial.
        status: How it ended.
        reason: Why it did not finish.
        run_uuid: UUID of its MLflow run.
    """

    trial: Trial
    records: tuple[StageRecord, ...]
    cost: Cost
    status: Status
    reason: str = ""
    run_uuid: str = ""

    @property
    def finished(self) -> bool:
        """Whether all its stages are in the storage."""
        return self.status == "finished"

    @property
    def settled(self) -> bool:
        """Whether the result is final; the same command resumes a trial that failed or was stopped."""
        return self.status in ("finished", "diverged")


def short_label(label: str) -> str:
    """Shorten a label for MLflow's list of runs, which cuts names after about 14 characters: ``θ 0.001 λ 10``."""
    return label.replace("η_θ ", "θ ").replace(", η_λ ", " λ ").replace(" : ", ":")


def weights_text(weights: tuple[float, ...]) -> str:
    """Format weights as ``0.2:0.4:1``."""
    return ":".join(f"{weight:.3g}" for weight in weights)


def _rates(values: list[float]) -> str:
    """Format the rates of the stages: a single value where all stages share it."""
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)
