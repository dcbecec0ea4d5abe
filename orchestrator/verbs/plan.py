"""The verb ``plan``: what would run and what it would cost, without training anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.summary.wording import level_name
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.grid_plan import plan_grid
from nmt.orchestrator.trials.loss_weights import WeightGrid
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.verbs.changed_code import changed_code
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.store.stage_store import StageStore

MAX_ROWS = 12
"""Most stages in the table; a longer chain shows its first and last ones. ``--json`` has them all."""

MAX_NAMES = 3
"""Most tasks that a cell names."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a planned chain.

    Attributes:
        stage: Number of the stage; 0 is the joint start.
        key: Memoisation key.
        level: Tasks that it solves; none for the joint start.
        objective: Task → weight in what it minimises.
        protected: Tasks that it holds.
        live: Those among them that no stage before has solved: the live model's losses are their limits.
        finished: Whether its result is already in the storage.
        max_steps: Most optimisation steps; early stopping may end it sooner.
        max_samples: Most training examples.
    """

    stage: int
    key: str
    level: tuple[str, ...]
    objective: dict[str, float]
    protected: tuple[str, ...]
    live: tuple[str, ...]
    finished: bool
    max_steps: int
    max_samples: int


@dataclass(frozen=True)
class Plan:
    """A planned chain, beside the grid of loss weights that it replaces.

    Attributes:
        name: Name of the experiment.
        examples: Split → examples.
        batch_size: Examples of a global batch.
        workers: Number of workers.
        stages: Stages, in order.
        grid_points: Values per task of the grid, p.
        grid_trials: Trainings of the grid, p^m.
        grid_max_samples: Most training examples of the grid, each training with one stage's budget.
        exact: Whether steps and samples are exact: stages have a fixed length. Otherwise they are upper bounds.
        sweep: Predicted cost of ``nmt sweep`` now; ``None`` where the file has nothing to sweep.
        grid: Predicted cost of ``nmt grid`` now, baselines included; ``None`` where it would be refused.
        sweep_name: Such as ``sweep, 3 × 3 learning rates``.
        grid_name: Such as ``grid of 125``.
        changed_code: Import paths of the user's own code that changed since the chain was last trained.
    """

    name: str
    examples: dict[str, int]
    batch_size: int
    workers: int
    stages: tuple[PlannedStage, ...]
    grid_points: int
    grid_trials: int
    grid_max_samples: int
    exact: bool
    sweep: Forecast | None
    grid: Forecast | None
    sweep_name: str
    grid_name: str
    changed_code: tuple[str, ...] = ()

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
            stage=stage.number,
            key=key,
            level=tuple(task.name for task in stage.level),
            objective=stage.objective_weights,
            protected=tuple(task.name for task in stage.protected),
            live=_at_live_limits(spec, stage),
            finished=store.read(key) is not None,
            max_steps=steps,
            max_samples=samples,
        )
        for stage, key in zip(spec.stages, spec.stage_keys(), strict=True)
    )
    sweep, grid = _plan_or_none(plan_sweep, prepared), _plan_or_none(plan_grid, prepared)
    weights = WeightGrid(len(spec.tasks), experiment.grid.points, experiment.grid.normalised)
    return Plan(
        name=experiment.name,
        examples=dict(schema.examples),
        batch_size=spec.batch_size,
        workers=experiment.scaling.max_workers,
        stages=stages,
        grid_points=experiment.grid.points,
        grid_trials=weights.trials,
        grid_max_samples=weights.trials * samples,
        exact=spec.training.patience is None,
        sweep=sweep.expected if sweep is not None else None,
        grid=grid.expected if grid is not None else None,
        sweep_name=f"sweep, {sweep.name}" if sweep is not None else "",
        grid_name=grid.name if grid is not None else f"grid of {weights.trials:,}",
        changed_code=changed_code(prepared),
    )


def _at_live_limits(spec: ChainSpec, stage: StageSpec) -> tuple[str, ...]:
    """Return the protected tasks that no stage before this one solves."""
    solved = {task.name for before in spec.stages[: stage.index] for task in before.level}
    return tuple(task.name for task in stage.protected if task.name not in solved)


T = TypeVar("T")


def _plan_or_none(plan: Callable[[PreparedExperiment], T], prepared: PreparedExperiment) -> T | None:
    """Return the plan of a verb; ``None`` where it would refuse."""
    try:
        return plan(prepared)
    except RequestError:
        return None


def plan_table(plan: Plan) -> RenderableType:
    """Return the plan as tables for the terminal."""
    changed = [Text(f"code of {name} changed") for name in plan.changed_code]
    return Group(_chain_table(plan), *changed, Text(), _cost_table(plan))


def _chain_table(plan: Plan) -> Table:
    most = "" if plan.exact else " ≤"
    table = Table(
        title=f"{plan.name}: one chain, {plan.workers} worker{'s' * (plan.workers > 1)}", title_justify="left"
    )
    table.add_column("stage", justify="right", no_wrap=True)
    short = len(plan.stages) > MAX_ROWS
    table.add_column("minimises", overflow="ellipsis")
    table.add_column("holds", overflow="ellipsis")
    table.add_column(f"steps{most}", justify="right", no_wrap=True)
    table.add_column(f"samples{most}", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    first, left_out, last = _ends(plan.stages)
    for stage in first:
        table.add_row(*_cells(stage, 1 if short else MAX_NAMES))
    if left_out:
        finished = sum(stage.finished for stage in left_out)
        steps, samples = sum(stage.max_steps for stage in left_out), sum(stage.max_samples for stage in left_out)
        state = f"{finished} finished" if finished else "to train"
        table.add_row("…", f"{len(left_out)} more stages", "", f"{steps:,}", f"{samples:,}", state, style="dim")
    for stage in last:
        table.add_row(*_cells(stage, 1 if short else MAX_NAMES))
    return table


def _ends(stages: Sequence[PlannedStage]) -> tuple[Sequence[PlannedStage], ...]:
    """Split a long chain into its first stages, those that the table leaves out, and its last stages."""
    if len(stages) <= MAX_ROWS:
        return stages, (), ()
    half = MAX_ROWS // 2
    return stages[:half], stages[half:-half], stages[-half:]


def _cells(stage: PlannedStage, most: int) -> tuple[str | Text, ...]:
    return (
        str(stage.stage),
        Text(_minimises(stage, most)),
        Text(_holds(stage, most)),
        f"{stage.max_steps:,}",
        f"{stage.max_samples:,}",
        "finished" if stage.finished else "to train",
    )


def _holds(stage: PlannedStage, most: int) -> str:
    """Write what a stage holds: ``pay, amount (live)`` with a live model's limit, or ``all 12 before and 3 live``."""
    if len(stage.protected) <= most:
        return ", ".join(f"{task} (live)" if task in stage.live else task for task in stage.protected) or "–"
    before, live = len(stage.protected) - len(stage.live), len(stage.live)
    return " and ".join([f"all {before} before"] * (before > 0) + [f"{live} live"] * (live > 0))


def _minimises(stage: PlannedStage, most: int) -> str:
    """Write what a stage minimises: ``pay + 0.3 later``, or ``all tasks together``."""
    if not stage.level:
        return "all tasks together"
    own = ", ".join(stage.level) if len(stage.level) <= most else level_name(stage.level)
    later = next((weight for task, weight in stage.objective.items() if task not in stage.level), 0.0)
    return f"{own} + {later:g} × later" if later else own


def _cost_table(plan: Plan) -> Table:
    """Return the cost of each verb now."""
    most = "" if plan.exact else " ≤"
    table = Table(title="what it costs", title_justify="left")
    table.add_column("")
    for head in ("trials", "stages to train", "reused", f"samples{most}"):
        table.add_column(head, justify="right")
    finished = sum(stage.finished for stage in plan.stages)
    to_train = len(plan.stages) - finished
    table.add_row("run, one chain", "1", str(to_train), str(finished), f"{plan.max_samples:,}")
    for name, cost in ((plan.sweep_name, plan.sweep), (plan.grid_name, plan.grid)):
        if cost is not None:
            reused = f"{cost.stages_reused:,}"
            table.add_row(name, f"{cost.trials:,}", f"{cost.stages:,}", reused, f"{cost.samples:,}")
    whole = sum(stage.max_samples for stage in plan.stages)
    table.caption = (
        f"From scratch, a chain takes {whole:,} samples, linear in the number of tasks; {plan.grid_points} weights for "
        f"each task are {_count(plan.grid_trials)} trials and {_count(plan.grid_max_samples)} samples: "
        f"{_count(plan.grid_max_samples / whole, 1)} times as many as the chain."
        + ("" if plan.exact else " Stages may stop early; training.patience: null makes this exact.")
    )
    table.caption_justify = "left"
    return table


def _count(value: float, decimals: int = 0) -> str:
    """Format ``1,756,928``; from a quadrillion on ``5.42e+44``."""
    return f"{value:,.{decimals}f}" if value < 1e15 else f"{value:.3g}"
