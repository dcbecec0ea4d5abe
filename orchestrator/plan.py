"""What would run, and what it would cost at most; nothing is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from orchestrator.prepared_experiment import PreparedExperiment
from trainers.stage_store import StageStore


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a planned chain.

    Attributes:
        stage: Number of the stage, from 1.
        key: Memoisation key.
        level: Tasks that it minimises.
        protected: Tasks that it holds.
        finished: Whether its result is in the storage already.
        max_steps: Most optimisation steps; it ends earlier when nothing improves any more.
        max_samples: Most training examples.
    """

    stage: int
    key: str
    level: tuple[str, ...]
    protected: tuple[str, ...]
    finished: bool
    max_steps: int
    max_samples: int


@dataclass(frozen=True)
class Plan:
    """A planned chain beside the grid of loss weights that it replaces.

    Attributes:
        name: Name of the experiment.
        examples: Split → examples.
        batch_size: Examples of a global batch.
        workers: Number of workers.
        stages: Stages, in order.
        grid_points: Values per task of the grid, p.
        grid_trials: Trainings of the grid, p^m.
        grid_max_samples: Most training examples of the grid, each training with one stage's budget.
    """

    name: str
    examples: dict[str, int]
    batch_size: int
    workers: int
    stages: tuple[PlannedStage, ...]
    grid_points: int
    grid_trials: int
    grid_max_samples: int

    @property
    def max_samples(self) -> int:
        """Most training examples of the stages that are not finished."""
        return sum(stage.max_samples for stage in self.stages if not stage.finished)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {**asdict(self), "max_samples": self.max_samples}


def plan_chain(prepared: PreparedExperiment) -> Plan:
    """Plan one chain.

    Args:
        prepared: The experiment.
    """
    experiment, spec, schema = prepared.experiment, prepared.spec, prepared.schema
    store = StageStore(experiment.storage)
    train = schema.examples["train"]
    steps = spec.training.max_epochs * -(-train // spec.batch_size)
    samples = spec.training.max_epochs * train
    stages = tuple(
        PlannedStage(
            stage=number + 1,
            key=key,
            level=tuple(task.name for task in level),
            protected=tuple(task.name for task in spec.protected(number)),
            finished=store.read(key) is not None,
            max_steps=steps,
            max_samples=samples,
        )
        for number, (level, key) in enumerate(zip(spec.levels, spec.stage_keys(), strict=True))
    )
    trials = experiment.grid.points ** len(spec.tasks)
    return Plan(
        name=experiment.name,
        examples=dict(schema.examples),
        batch_size=spec.batch_size,
        workers=experiment.scaling.most,
        stages=stages,
        grid_points=experiment.grid.points,
        grid_trials=trials,
        grid_max_samples=trials * samples,
    )


def plan_table(plan: Plan) -> Table:
    """The plan for a terminal."""
    table = Table(
        title=f"{plan.name}: one chain, {plan.workers} worker{'s' * (plan.workers > 1)}", title_justify="left"
    )
    table.add_column("stage", justify="right")
    table.add_column("minimises")
    table.add_column("holds")
    table.add_column("steps ≤", justify="right")
    table.add_column("samples ≤", justify="right")
    table.add_column("state")
    for stage in plan.stages:
        table.add_row(
            str(stage.stage),
            ", ".join(stage.level),
            ", ".join(stage.protected) or "–",
            f"{stage.max_steps:,}",
            f"{stage.max_samples:,}",
            "finished" if stage.finished else "to train",
        )
    whole = sum(stage.max_samples for stage in plan.stages)
    table.caption = (
        f"at most {plan.max_samples:,} samples to train: {len(plan.stages)} stages, linear in the number of tasks.\n"
        f"A grid of {plan.grid_points} weights per task is {plan.grid_trials:,} trainings, at most "
        f"{plan.grid_max_samples:,} samples: {plan.grid_max_samples / whole:,.0f} times as many as the whole chain."
    )
    table.caption_justify = "left"
    return table
