"""Groups of trials that nobody trains: a runner that keeps known records, and what MLflow has of a group."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from nmt.orchestrator.cluster.tuning.runner import Ending, TrialRunner
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.terminal.output import TextOutput
from nmt.orchestrator.tracking.manifests.store import GroupStore
from nmt.orchestrator.trials.grid_plan import plan_grid
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.trials.trial import Trial
from nmt.orchestrator.verbs.grid import run_grid
from nmt.orchestrator.verbs.sweep import run_sweep
from nmt.trainers.data.schema import Schema
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event, StageFinished
from nmt.trainers.store.stage_store import StageStore, StoredReferences

from . import _records
from ._tracked import OF_THE_MOMENT, Project

EXAMPLES = 40
TASKS = ("pay", "amount", "like")
COSTS = ("trials", "stages", "stages_reused", "steps", "samples", "samples_reused", "worker_seconds")


def prepared(project: Project, **sections: Any) -> PreparedExperiment:
    """An experiment of three tasks whose sweep is 2 × 2 and whose grid has 2 weights a task."""
    content: dict[str, Any] = {
        "name": "group",
        "data": {"path": "/nowhere", "batch_size": 10},
        "tasks": [{"name": name, "loss": "binary_cross_entropy"} for name in TASKS],
        "model": {"name": "scorer"},
        "training": {"max_epochs": 2, "patience": None},
        "sweep": {"eta_theta": [0.001, 0.01], "eta_lambda": [1.0, 10.0]},
        "grid": {"points": 2},
        "storage": project.storage,
        "tracking": project.uri,
    }
    for name, section in sections.items():
        both = isinstance(section, Mapping) and isinstance(content.get(name), Mapping)
        content[name] = {**content[name], **section} if both else section
    experiment = Experiment.model_validate(content)
    schema = Schema(examples={"train": 100, "valid": EXAMPLES, "test": EXAMPLES})
    return PreparedExperiment(experiment, experiment.chain("0123"), schema, "/nowhere")


def trained(trial: Trial, stage: int) -> tuple[StageRecord, StoredReferences]:
    """What training a stage would give: always the same for the same key, 200 samples, 2 seconds of 2 workers."""
    keys, spec = trial.keys, trial.spec.stages[stage]
    draw = random.Random(keys[stage])
    protected = [task.name for task in spec.protected]
    means = {task.name: round(draw.uniform(0.3, 0.7), 6) for task in spec.tasks}
    sums = {task: torch.tensor([mean + draw.gauss(0, 0.05) for _ in range(EXAMPLES)]) for task, mean in means.items()}
    counts = {task: torch.ones(EXAMPLES) for task in means}
    losses = {task: float(values.mean()) for task, values in sums.items()}
    record = replace(
        _records.record(
            stage,
            [task.name for task in spec.level],
            protected,
            number=spec.number,
            objective=spec.objective_weights,
            verdicts=[_records.verdict(task, 0.0, 0.01) for task in protected],
            losses=dict.fromkeys(_records.SPLITS, losses),
            metrics={split: {task: 1 - loss for task, loss in losses.items()} for split in _records.SPLITS},
            steps=20,
            accepted_step=20,
        ),
        key=keys[stage],
        parent=keys[stage - 1] if stage else None,
        wall_seconds=2.0,
        workers=2,
    )
    return record, StoredReferences({"valid": sums, "test": sums}, {"valid": counts, "test": counts})


Cut = Callable[[int, int], None]
"""Called with a trial's number and a stage that is about to be trained; may raise."""


@dataclass
class Runner:
    """Stands for Ray Tune: one trial after the other, each stage found or trained.

    Attributes:
        storage: Where stages are kept.
        endings: Trials that do not end well, each with the stage that it does not come to the end of; ``None`` for one
            that never starts.
        cut: See :data:`Cut`.
        deaf: Numbers of trials whose events are lost on their way.
        trained: Keys of the stages that were trained.
        asked: Numbers of the trials of each call.
    """

    storage: str
    endings: Mapping[int, tuple[int | None, Ending]] = field(default_factory=dict)
    cut: Cut = lambda number, stage: None
    deaf: Collection[int] = ()
    trained: list[str] = field(default_factory=list)
    asked: list[list[int]] = field(default_factory=list)

    def run(
        self, trials: Mapping[int, Trial], runs: Mapping[int, str], name: str, deliver: Callable[[int, Event], None]
    ) -> dict[int, Ending]:
        assert name in ("sweep", "grid", "comparison")
        self.asked.append(list(trials))
        return {number: self._one(number, trial, runs[number], deliver) for number, trial in trials.items()}

    def _one(self, number: int, trial: Trial, run: str, deliver: Callable[[int, Event], None]) -> Ending:
        bad, ending = self.endings.get(number, (len(trial.keys), Ending("ended")))
        for stage in range(len(trial.keys)):
            if bad is None:
                return ending
            for event in self._stage(number, trial, run, stage, bad):
                if number not in self.deaf:
                    deliver(number, event)
            if stage == bad:
                return ending
        return ending

    def _stage(self, number: int, trial: Trial, run: str, stage: int, bad: int) -> Iterator[Event]:
        store = StageStore(self.storage, run)
        found = store.read(trial.keys[stage])
        if found is not None:
            yield StageFinished(found, reused=True)
            return
        record, references = trained(trial, stage)
        self.cut(number, stage)
        yield _records.started(record)
        if stage == bad:
            return
        self.cut(number, stage)
        self.trained.append(record.key)
        store.write(record, {}, references)
        yield StageFinished(record, reused=False)

    @property
    def as_runner(self) -> TrialRunner:
        return cast(TrialRunner, self)


def silent() -> TextOutput:
    return TextOutput(Console(file=io.StringIO(), width=200))


def sweep(project: Project, runner: Runner | None = None, **sections: Any) -> GroupOutcome:
    experiment = prepared(project, **sections)
    runner = runner or Runner(project.storage)
    return run_sweep(experiment, plan_sweep(experiment), runner.as_runner, silent())


def grid(project: Project, runner: Runner | None = None, **sections: Any) -> GroupOutcome:
    experiment = prepared(project, **sections)
    runner = runner or Runner(project.storage)
    return run_grid(experiment, plan_grid(experiment), runner.as_runner, silent())


class CutError(Exception):
    """Something that nobody expected."""


def cut_at(number: int, error: type[BaseException]) -> Any:
    """Raise at the so many-th time that a stage starts or ends."""
    calls: list[tuple[int, int]] = []

    def cut(trial: int, stage: int) -> None:
        calls.append((trial, stage))
        if len(calls) == number:
            raise error

    return cut


# --- MLflow -----------------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """A run and those nested below it."""

    run: Run
    children: list[Node] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.run.data.tags["nmt.kind"])

    def cost(self, name: str) -> float:
        return float(self.run.data.metrics.get(f"cost/{name}", 0.0))


def trees(project: Project, name: str = "group") -> list[Node]:
    """Every top run of an experiment, oldest first; every run is somewhere in it once."""
    client = MlflowClient(project.uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000, order_by=["attributes.start_time ASC"])
    nodes = {run.info.run_id: Node(run) for run in runs}
    top = []
    for node in nodes.values():
        parent = node.run.data.tags.get("mlflow.parentRunId")
        (nodes[parent].children if parent else top).append(node)
    for node in nodes.values():
        # The last part of the uuid is the number of the trial, or of the stage.
        node.children.sort(key=lambda child: int(child.run.data.tags["nmt.run_uuid"].rpartition(".")[2]))
    return top


def content(project: Project, node: Node) -> dict[str, Any]:
    """All that MLflow has of a run and what is below it, but for ids and what a clock said."""
    client = MlflowClient(project.uri)
    run = node.run
    points = [
        (name, point.step, point.value if name != "cost/wall_seconds" else None)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    ]
    hidden = (*OF_THE_MOMENT, "nmt.winner_run")
    artifacts = [file.path for file in client.list_artifacts(run.info.run_id)]
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(hidden)},
        "colour": run.data.tags.get("mlflow.runColor"),
        "params": run.data.params,
        "points": sorted(points, key=str),
        "artifacts": sorted(artifacts),
        "trials": document(project, run, "trials.json") if "trials.json" in artifacts else None,
        "children": [content(project, child) for child in node.children],
    }


def document(project: Project, run: Run, name: str) -> Any:
    folder = MlflowClient(project.uri).download_artifacts(run.info.run_id, name)
    with open(folder) as file:
        found = json.load(file)
    for trial in found["trials"]:
        trial["cost"].pop("wall_seconds")
    return found


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from walk(node.children)


def assert_costs_add_up(group: Node) -> None:
    """Group, trials, stages: each is the sum of what is below it."""
    for name in COSTS:
        assert group.cost(name) == sum(child.cost(name) for child in group.children), name
        for chain in group.children:
            if chain.kind == "chain" and name != "trials":
                assert chain.cost(name) == sum(stage.cost(name) for stage in chain.children), name


def manifests(project: Project) -> list[Any]:
    """Manifests of the groups."""
    kept = GroupStore(project.storage)
    return [kept.read(name) for name in kept.names()]
