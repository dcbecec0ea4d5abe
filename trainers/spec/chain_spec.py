"""What a chain computes: everything that determines its result, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from nmt.trainers.methods.names import FAMO, TORCHJD, WEIGHTED_SUM, is_constrained
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.previous import Previous, stage_label
from nmt.trainers.spec.settings import CONSTRAINT_FIELDS, Settings
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.spec.task import Level, Task

ALGORITHM_VERSION = 6
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
    """A chain: stage 0 trains all tasks together where the recipe asks for it, then one stage per level.

    Attributes:
        levels: Tasks by priority, most important first; a level's tasks are of equal priority.
        model: Which model to build.
        training: How stages are trained.
        batch_size: Examples (rows, or lists where the data has a query column) of one global batch, over all workers.
        data_fingerprint: Hash of the content of the prepared data set.
        ingest: Whether workers keep the data in memory or stream them: the order of the examples differs.
        execution: How stages run and what is recorded.
        rates: Learning rates of each level's stage, where they differ; those of ``training`` when absent. Stage 0 has
            the first level's.
        rounds: Times that the one stage of a method without priorities is trained, each time from the model that the
            last one accepted: a baseline with the samples of a whole chain.
        live: The live model, if its losses are limits.
        previous: The model of the day before, if the chain goes on from it.
        code: Import path of a model, loss or metric of the user's own → hash of its source.
    """

    levels: tuple[Level, ...]
    model: ModelSpec
    training: Settings
    batch_size: int
    data_fingerprint: str
    ingest: Ingest = "memory"
    execution: Execution = field(default_factory=Execution)
    rates: tuple[Rates, ...] | None = None
    rounds: int = 1
    live: Live | None = None
    previous: Previous | None = None
    code: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rates is not None and len(self.rates) != len(self.levels):
            raise ValueError(f"rates must be one per level: found {len(self.rates)} for {len(self.levels)} levels")
        if self.rounds < 1 or (self.rounds > 1 and len(self.levels) > 1):
            raise ValueError(f"rounds must be at least 1, and 1 for a chain of levels; found {self.rounds}")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, by priority."""
        return tuple(task for level in self.levels for task in level)

    @property
    def live_tasks(self) -> tuple[Task, ...]:
        """Tasks that no stage may leave worse than the live model has them, by priority."""
        names = set(self.live.tasks) if self.live is not None else set()
        return tuple(task for task in self.tasks if task.name in names)

    @property
    def has_joint_start(self) -> bool:
        """Whether stage 0 trains all tasks together; with one level it would be that level's own stage."""
        return self.training.joint_weight > 0 and len(self.levels) > 1

    @cached_property
    def stages(self) -> tuple[StageSpec, ...]:
        """The stages, in order."""
        if len(self.levels) == 1:
            return tuple(self._level_stage(0, index) for index in range(self.rounds))
        first = int(self.has_joint_start)
        levels = (self._level_stage(level, first + level) for level in range(len(self.levels)))
        return (*([self._joint_stage()] if first else []), *levels)

    def _inherited(self, level: Level, protected: Iterable[Task]) -> dict[str, float]:
        """Multipliers of the day before, of the stage of the same level."""
        found = {} if self.previous is None else self.previous.multipliers.get(stage_label(level), {})
        return {task.name: found[task.name] for task in protected if task.name in found}

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ValueError: Weights that are not one per task, a torchjd aggregator that cannot be built or compiled, or
                pairs of training examples in data that are streamed.
            ImportError: The method needs torchjd, and it is not installed.
        """
        training, method = self.training, self.training.method
        if training.weights is not None and len(training.weights) != len(self.tasks):
            raise ValueError(f"weights must be one per task: found {len(training.weights)} for {len(self.tasks)} tasks")
        if self.ingest == "stream" and training.violations == "paired":
            raise ValueError(
                "violations: paired needs each training example's loss at θ*, and data.ingest is stream, which keeps "
                "none; set violations: held_out or minibatch, or data.ingest: memory"
            )
        if self.execution.compile and TORCHJD in method:
            raise ValueError(
                f"compile: a compiled model gives one gradient a step, and method {method!r} needs one for each "
                "task; leave execution.compile out"
            )
        if self.live is not None and not is_constrained(method):
            raise ValueError(
                f"protect needs a method that holds tasks at their limits, found method {method!r}; set it to nmt, "
                "nmt+famo or nmt+torchjd:NAME, or leave protect out"
            )
        held = [*(task for level in self.levels[:-1] for task in level), *self.live_tasks]
        without = list(dict.fromkeys(task.name for task in held if not task.metric))
        if training.accept_on == "metric" and without:
            raise ValueError(
                f"accept_on: metric needs a metric of every task that a stage protects, and {', '.join(without)} have "
                "none; give them one (metric: auc, or your own as package.module:callable), or set accept_on: loss"
            )
        if TORCHJD in method:
            from nmt.trainers.methods.aggregation import build_aggregator

            build_aggregator(method.partition(TORCHJD)[2], len(self.tasks), training.method_options)
        elif FAMO in method:
            from nmt.trainers.methods.torchjd import import_torchjd

            import_torchjd("scalarization")

    def stage_keys(self) -> tuple[str, ...]:
        """The memoisation key of each stage.

        A key hashes what determines the stage's result (objective, tolerances, model, settings, pace of evaluations,
        batch size, data, the parent's key), and nothing that does not (workers, paths, tracking address). A stage that
        protects nothing leaves out the multipliers' settings, so that a sweep over η_λ trains stages 0 and 1 once per
        η_θ. Stage 0 depends on no priority below the first level. Every stage depends on the live model by its content,
        and on the model of the day before.
        """
        keys: list[str] = []
        for stage in self.stages:
            settings = dataclasses.asdict(stage.settings)
            for name in ("joint_weight", "later_weight", *(() if stage.protected else CONSTRAINT_FIELDS)):
                del settings[name]  # the first two are in the objective's weights
            content = {
                "version": ALGORITHM_VERSION,
                "parent": keys[-1] if keys else None,
                "stage": stage.index,
                "level": sorted(task.name for task in stage.level),
                "objective": stage.objective_weights,
                "tolerances": {task.name: task.tolerance for task in stage.protected},
                "tasks": self._task_fields(self.tasks),
                "model": dataclasses.asdict(self.model) | self._code_of("code", self.model.name),
                "settings": settings,
                "evaluations_per_epoch": self.execution.evaluations_per_epoch,
                "batch_size": self.batch_size,
                "data": self.data_fingerprint,
                "ingest": self.ingest,
            }
            if self.live is not None:
                content["live"] = dataclasses.asdict(replace(self.live, tasks=tuple(sorted(self.live.tasks))))
            if self.previous is not None:
                content["previous"] = {"digest": self.previous.digest, "multipliers": stage.multipliers}
            keys.append(_digest(content))
        return tuple(keys)

    def live_key(self) -> str:
        """The key under which the live model's losses on these data are kept.

        Raises:
            ValueError: There is no live model.
        """
        if self.live is None:
            raise ValueError("the chain protects no live model")
        return _digest(
            {
                "version": ALGORITHM_VERSION,
                "live": self.live.digest,
                "tasks": self._task_fields(self.live_tasks),
                "data": self.data_fingerprint,
                "ingest": self.ingest,
            }
        )

    def _task_fields(self, tasks: Iterable[Task]) -> list[dict[str, Any]]:
        """What of tasks determines a result, in the order of their names."""
        found = []
        for task in sorted(tasks, key=lambda task: task.name):
            content = dataclasses.asdict(task)
            del content["tolerance"]  # matters to the stages that protect the task, not to the one that solves it
            found.append(content | self._code_of("loss_code", task.loss) | self._code_of("metric_code", task.metric))
        return found

    def _code_of(self, key: str, name: str | None) -> dict[str, str]:
        return {key: self.code[name]} if name and name in self.code else {}

    def _settings(self, level: int) -> Settings:
        if self.rates is None:
            return self.training
        return replace(self.training, **dataclasses.asdict(self.rates[level]))

    def _level_stage(self, level: int, index: int) -> StageSpec:
        settings, alpha = self._settings(level), self.training.later_weight
        later = tuple(task for tasks in self.levels[level + 1 :] for task in tasks) if alpha else ()
        count = len(self.levels[level])
        own = settings.weights or (1 / count if settings.method == WEIGHTED_SUM else 1.0,) * count
        protected = self._protected(level)
        return StageSpec(
            index=index,
            number=level + 1 if len(self.levels) > 1 else index + 1,
            level=self.levels[level],
            later=later,
            weights=(*own, *(alpha,) * len(later)),
            protected=protected,
            settings=settings,
            execution=self.execution,
            multipliers=self._inherited(self.levels[level], protected),
        )

    def _protected(self, level: int) -> tuple[Task, ...]:
        """Tasks that the stage of a level protects: those of earlier levels, and those that the live model has."""
        names = {task.name for tasks in self.levels[:level] for task in tasks} | {task.name for task in self.live_tasks}
        return tuple(task for task in self.tasks if task.name in names)

    def _joint_stage(self) -> StageSpec:
        first, others = self.levels[0], self.tasks[len(self.levels[0]) :]
        share = self.training.joint_weight
        weights = (*(share / len(first),) * len(first), *((1 - share) / len(others),) * len(others))
        return StageSpec(
            index=0,
            number=0,
            level=(),
            later=self.tasks,
            weights=weights,
            protected=self.live_tasks,
            settings=self._settings(0),
            execution=self.execution,
            multipliers=self._inherited((), self.live_tasks),
        )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_canonical(content), sort_keys=True).encode()).hexdigest()[:20]


def _canonical(value: Any) -> Any:
    """1 and 1.0 are the same number, a list and a tuple the same widths."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
