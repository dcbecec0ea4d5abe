"""What a chain computes: everything that determines its result, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trainers.methods.names import FAMO, TORCHJD
from trainers.spec.stage_spec import StageSpec
from trainers.spec.task import Level, Task
from trainers.spec.training import MULTIPLIER_FIELDS, RECORDING_FIELDS, Training

ALGORITHM_VERSION = 3
"""Raised when a change of this program changes results, or what is kept of them: stages computed before are then not
reused."""

Ingest = Literal["memory", "stream"]
"""Whether workers keep their shard of the data in memory, or stream it pass by pass."""


@dataclass(frozen=True)
class ModelSpec:
    """Which model to build.

    Attributes:
        name: Registered name, or ``package.module:callable``.
        options: Keyword arguments of the model beside ``schema`` and ``tasks``.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rates:
    """The two learning rates: all that there is to tune.

    Attributes:
        eta_theta: η_θ > 0, of the model's parameters.
        eta_lambda: η_λ > 0, of the multipliers.
    """

    eta_theta: float
    eta_lambda: float


@dataclass(frozen=True)
class ChainSpec:
    """A chain: one stage per level, in order of priority.

    Attributes:
        levels: Tasks by priority, most important first; a level's tasks are of equal priority.
        model: Which model to build.
        training: How stages are trained.
        batch_size: Examples (rows, or lists where the data has a query column) of one global batch, over all workers.
        data_fingerprint: Hash of the content of the prepared data set.
        ingest: Whether workers keep the data in memory or stream them: the order of the examples differs.
        rates: Learning rates of each stage, where they differ; those of ``training`` when absent.
    """

    levels: tuple[Level, ...]
    model: ModelSpec
    training: Training
    batch_size: int
    data_fingerprint: str
    ingest: Ingest = "memory"
    rates: tuple[Rates, ...] | None = None

    def __post_init__(self) -> None:
        if self.rates is not None and len(self.rates) != len(self.levels):
            raise ValueError(f"rates must be one per stage: found {len(self.rates)} for {len(self.levels)} stages")

    def training_of(self, stage: int) -> Training:
        """How a stage is trained."""
        if self.rates is None:
            return self.training
        return replace(self.training, **dataclasses.asdict(self.rates[stage]))

    def stage(self, index: int) -> StageSpec:
        """What a stage computes."""
        return StageSpec(index, self.levels[index], self.training_of(index))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, by priority."""
        return tuple(task for level in self.levels for task in level)

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ValueError: Weights that are not one per task, a torchjd aggregator that cannot be built, or pairs of
                training examples in data that are streamed.
            ImportError: The method needs torchjd, and it is not installed.
        """
        weights = self.training.weights
        if weights is not None and len(weights) != len(self.tasks):
            raise ValueError(f"weights must be one per task: found {len(weights)} for {len(self.tasks)} tasks")
        if self.ingest == "stream" and self.training.paired and self.training.measured_on == "train":
            raise ValueError(
                "paired: true with measured_on: train needs each training example's loss at θ*, and data.ingest is "
                "stream, which keeps none; set measured_on: valid, or paired: false, or data.ingest: memory"
            )
        if TORCHJD in self.training.method:
            from trainers.methods.aggregation import build_aggregator

            build_aggregator(self.training.method.partition(TORCHJD)[2], len(self.tasks), self.training.method_options)
        elif FAMO in self.training.method:
            from trainers.methods.torchjd import import_torchjd

            import_torchjd("scalarization")

    def protected(self, stage: int) -> tuple[Task, ...]:
        """Tasks of the levels before ``stage``."""
        return tuple(task for level in self.levels[:stage] for task in level)

    def stage_keys(self) -> tuple[str, ...]:
        """The memoisation key of each stage.

        A key hashes what determines the stage's result (levels so far, model, training, batch size, data, the parent's
        key), and nothing that does not (workers, paths, tracking address). A stage that protects nothing leaves out the
        multipliers' options, so that a sweep over η_λ trains stage 1 once.
        """
        keys: list[str] = []
        for stage in range(len(self.levels)):
            training = dataclasses.asdict(self.training_of(stage))
            for name in {*RECORDING_FIELDS, *(() if self.protected(stage) else MULTIPLIER_FIELDS)}:
                del training[name]
            content = {
                "version": ALGORITHM_VERSION,
                "parent": keys[-1] if keys else None,
                "stage": stage,
                "level": [_result_fields(task) for task in self.levels[stage]],
                "tolerances": [task.tolerance for task in self.protected(stage)],
                "outputs": [_result_fields(task) for task in self.tasks],
                "model": dataclasses.asdict(self.model),
                "training": training,
                "batch_size": self.batch_size,
                "data": self.data_fingerprint,
                "ingest": self.ingest,
            }
            text = json.dumps(_canonical(content), sort_keys=True)
            keys.append(hashlib.sha256(text.encode()).hexdigest()[:20])
        return tuple(keys)


def _result_fields(task: Task) -> dict[str, Any]:
    content = dataclasses.asdict(task)
    del content["tolerance"]  # matters to the stages that protect the task, not to the one that solves it
    return content


def _canonical(value: Any) -> Any:
    """1 and 1.0 are the same number, a list and a tuple the same widths."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
