"""Sections of an experiment file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nmt.orchestrator.experiment.own_code import code_of
from nmt.trainers.methods.names import check_method, is_constrained
from nmt.trainers.models.build import gives_one_score
from nmt.trainers.spec.chain_spec import ChainSpec, Ingest, ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Level, Task
from nmt.trainers.spec.training import Training

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where examples come from.

    Attributes:
        source: A module with a ``prepare`` function, or ``package.module:callable``; absent when ``path`` is already a
            prepared folder.
        path: The source's input, or the prepared folder.
        batch_size: Examples (rows, or lists where the data has a query column) of a global batch, over all workers.
        options: Keyword arguments of the source.
        cache: Where a source keeps what it prepares; by default a folder below ``storage``.
        ingest: ``memory`` keeps every example in the workers' memory, ``stream`` reads the files anew in each pass. By
            default the size of the data decides (:mod:`nmt.orchestrator.experiment.ingest`).
    """

    source: str | None = None
    path: str | None = None
    batch_size: Annotated[int, Field(ge=1)] = 4096
    options: dict[str, Any] = Field(default_factory=dict)
    cache: str | None = None
    ingest: Ingest | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Data:
        if self.source is None and self.path is None:
            raise ValueError("give 'source' (a module that prepares data), 'path' (a prepared folder), or both")
        if self.source is None and self.options:
            raise ValueError("'options' belong to a 'source', and none is given: add 'source' or remove 'options'")
        return self


class Sweep(_Section):
    """Values of the two learning rates that ``nmt sweep`` tries; nothing else is swept.

    Attributes:
        eta_theta: Learning rates of the parameters, η_θ; by default the one of ``training``.
        eta_lambda: Learning rates of the multipliers, η_λ; by default the one of ``training``.
        greedy: Whether to choose the rates stage by stage: each stage tries every pair, starting at the best accepted
            checkpoint of the stage before, instead of training a whole chain per pair.
    """

    eta_theta: tuple[Positive, ...] = ()
    eta_lambda: tuple[Positive, ...] = ()
    greedy: bool = False

    @model_validator(mode="before")
    @classmethod
    def _only_learning_rates(cls, value: Any) -> Any:
        others = [key for key in value if key not in cls.model_fields] if isinstance(value, Mapping) else []
        if others:
            raise ValueError(
                f"only eta_theta and eta_lambda are swept, found {', '.join(map(str, others))}: the method has no "
                "other value to tune (no loss weights), and trials share stages because nothing else differs; "
                "set it in its own section, and try several values in several experiments"
            )
        return value

    @field_validator("eta_theta", "eta_lambda")
    @classmethod
    def _differ(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("values must differ")
        return values


class Grid(_Section):
    """The grid of loss weights that ``nmt grid`` trains.

    Attributes:
        points: Values per task, p.
        normalised: Whether weights of the same proportions are trained once.
        limit: Weightings to train, drawn with ``training.seed``; the cost of the rest is extrapolated. All by default.
        baselines: Whether to train the baselines too: equal weights, and a single-task model for each task.
    """

    points: Annotated[int, Field(ge=2)] = 10
    normalised: bool = False
    limit: Annotated[int, Field(ge=1)] | None = None
    baselines: bool = True


class Compare(_Section):
    """Methods that ``nmt compare`` adds to the sweep and the grid.

    Attributes:
        methods: Methods to train once each, with the experiment's own learning rates, such as ``famo`` or
            ``torchjd:UPGrad``.
    """

    methods: tuple[str, ...] = ()

    @field_validator("methods")
    @classmethod
    def _exist(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            check_method(method)
        if repeated := _repeated(methods):
            raise ValueError(f"methods must differ, found {', '.join(repeated)} more than once")
        return methods


class Tune(_Section):
    """Ray Tune's options for the trials of a sweep, a grid or a comparison, under Tune's own names.

    Attributes:
        workers_per_trial: Data-parallel workers of a trial. A single worker trains inside the trial's own actor, which
            is reused; with more, each trial starts its own worker group, which takes about 15 seconds.
        max_concurrent_trials: Most trials at a time; by default as many as fit on the cluster.
        time_budget_s: Seconds after which all trials stop; the same command resumes from the finished stages.
        max_failures: How often a trial whose process was lost restarts from its last checkpoint.
        fail_fast: Whether the first failed trial ends all others.
        stop: Stop criteria of a trial, metric → value, checked after each stage, such as ``training_iteration: 2``.
    """

    workers_per_trial: Annotated[int, Field(ge=1)] = 1
    max_concurrent_trials: Annotated[int, Field(ge=1)] | None = None
    time_budget_s: Positive | None = None
    max_failures: Annotated[int, Field(ge=0)] = 2
    fail_fast: bool = False
    stop: dict[str, float] = Field(default_factory=dict)


class Elastic(_Section):
    """A range of workers; a run takes as many of them as the cluster has.

    Attributes:
        min: Fewest workers to train with.
        max: Most workers to train with.
    """

    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Elastic:
        if self.min > self.max:
            raise ValueError(f"min must not be greater than max, found min {self.min} and max {self.max}")
        return self


class Scaling(_Section):
    """Workers of a run.

    Attributes:
        workers: Data-parallel workers, which divide the global batch among them. ``{min: 1, max: 8}`` takes as many as
            the cluster has, and continues with fewer when a node is lost; the result is the same up to rounding.
        use_gpu: One GPU per worker (NCCL); otherwise CPU (gloo).
        cpus_per_worker: CPUs that each worker reserves.
        max_failures: How often a run may lose workers before it fails; each time the stage resumes from its last
            checkpoint.
        hang_timeout_s: Seconds after which a worker that the others wait for counts as hung. Must exceed any pause of a
            single worker, such as the first import of a large library.
        placement_timeout_s: Total seconds that a run waits for workers to be placed: an autoscaler, or the replacement
            of a lost node, takes minutes.
    """

    workers: Annotated[int, Field(ge=1)] | Elastic = 1
    use_gpu: bool = False
    cpus_per_worker: Positive = 1.0
    max_failures: Annotated[int, Field(ge=0)] = 3
    hang_timeout_s: Positive = 45.0
    placement_timeout_s: Positive = 900.0

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | Mapping | Elastic):
            raise ValueError(f"give a whole number, or a range such as {{min: 1, max: 8}}; found {value!r}")
        return value

    @property
    def min_workers(self) -> int:
        """Fewest workers to train with."""
        return self.workers.min if isinstance(self.workers, Elastic) else self.workers

    @property
    def max_workers(self) -> int:
        """Most workers to train with."""
        return self.workers.max if isinstance(self.workers, Elastic) else self.workers


class Protect(_Section):
    """The live model, whose losses are limits of every stage for the tasks that it has.

    Attributes:
        model: Where it is: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/RUN/model``, or a folder.
        start: Whether the chain starts from its parameters, so that it can only gain. By default where network, tasks
            and columns are the same; ``true`` makes a difference an error.
    """

    model: Annotated[str, Field(min_length=1)]
    start: bool | None = None


class Experiment(_Section):
    """A whole experiment file.

    Attributes:
        name: Name of the MLflow experiment.
        data: Where examples come from.
        tasks: Tasks by priority; a nested list is one level of equal priority.
        model: ``name`` and the model's options.
        training: How stages are trained.
        execution: How they run, and what is recorded.
        sweep: Learning rates to sweep.
        grid: Grid of loss weights.
        compare: Further methods to compare.
        tune: Ray Tune's options.
        scaling: Workers.
        protect: The live model; text is its address.
        storage: Folder or URI of the finished stages.
        tracking: MLflow tracking URI.
    """

    name: Annotated[str, Field(min_length=1, max_length=500)]
    data: Data
    tasks: tuple[Task | tuple[Task, ...], ...]
    model: dict[str, Any]
    training: Training = Training()
    execution: Execution = Execution()
    sweep: Sweep = Sweep()
    grid: Grid = Grid()
    compare: Compare = Compare()
    tune: Tune = Tune()
    scaling: Scaling = Scaling()
    protect: Protect | None = None
    storage: str = "./nmt-runs"
    tracking: str = "sqlite:///mlflow.db"

    @field_validator("tasks")
    @classmethod
    def _valid_tasks(cls, tasks: tuple[Task | tuple[Task, ...], ...]) -> tuple[Task | tuple[Task, ...], ...]:
        names = [task.name for level in tasks for task in (level if isinstance(level, tuple) else (level,))]
        if not names or any(isinstance(level, tuple) and not level for level in tasks):
            raise ValueError("at least one task is needed, and no level may be empty")
        if repeated := _repeated(names):
            raise ValueError(f"task names must differ, found {', '.join(repeated)} more than once")
        return tasks

    @field_validator("protect", mode="before")
    @classmethod
    def _address_alone(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _model_has_a_name(cls, model: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(model.get("name"), str):
            raise ValueError("'name' is missing: the registered model, or your own as 'package.module:callable'")
        return model

    @field_validator("tracking")
    @classmethod
    def _tracking_is_a_uri(cls, tracking: str) -> str:
        if "://" not in tracking or tracking.startswith("file:"):
            raise ValueError(
                "give a database or a server, such as sqlite:///mlflow.db, postgresql://… or http://host:5000 "
                "(MLflow no longer creates experiments in plain folders)"
            )
        return tracking

    @property
    def levels(self) -> tuple[Level, ...]:
        """Tasks by level."""
        return tuple(level if isinstance(level, tuple) else (level,) for level in self.tasks)

    @property
    def settings(self) -> Settings:
        """Every value that the stages are trained with.

        Raises:
            ValueError: The model is unknown.
        """
        return self.training.settle(gives_one_score(self.model["name"]))

    def chain(self, data_fingerprint: str, ingest: Ingest = "memory") -> ChainSpec:
        """Return what one chain computes; a method without priorities solves all tasks in one stage."""
        options = {key: value for key, value in self.model.items() if key != "name"}
        return ChainSpec(
            levels=self.levels if is_constrained(self.training.method) else (sum(self.levels, ()),),
            model=ModelSpec(self.model["name"], options),
            training=self.settings,
            execution=self.execution,
            batch_size=self.data.batch_size,
            data_fingerprint=data_fingerprint,
            ingest=ingest,
            code=code_of(self.component_names),
        )

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names and import paths of the model, the losses and the metrics."""
        tasks = [task for level in self.levels for task in level]
        return (self.model["name"], *(task.loss for task in tasks), *(task.metric for task in tasks if task.metric))


def flatten(experiment: Experiment, settings: Settings | None = None) -> dict[str, str]:
    """Return the experiment as MLflow params: dotted keys, text values.

    Args:
        experiment: The experiment.
        settings: Values that its stages are trained with; those that its section ``training`` settles on when absent.
    """
    flat: dict[str, str] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                visit(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
            for place, item in enumerate(value):
                visit(f"{prefix}.{place}", item)
        else:
            flat[prefix] = str(value)

    content = experiment.model_dump(mode="json", exclude={"tracking", "storage", "tune"})
    recipe = {"recipe": experiment.training.recipe}
    content["training"] = recipe | dataclasses.asdict(settings or experiment.settings)
    visit("", content)
    return flat


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
