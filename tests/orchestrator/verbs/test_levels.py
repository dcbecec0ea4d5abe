"""Tasks of equal priority through the whole stack: experiment file, plan, chain, tracking, table and pictures."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.table import Table

from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.orchestrator.experiment.sections import flatten
from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.summary.table import chain_table
from nmt.orchestrator.tracking.chain_log import ChainRun, Timed
from nmt.orchestrator.verbs.plan import plan_chain, plan_table
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.models.build import build_model
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event, StageFinished
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.orchestrator._notebook import Notebook


class Writing:
    """A reporter that writes events to a chain's run."""

    def __init__(self, run: ChainRun) -> None:
        self._run = run

    def report(self, event: Event) -> None:
        self._run.write([Timed(event, 0)])


@pytest.fixture(scope="module")
def prepared(ranking_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedExperiment:
    """pay and amount of equal priority, then relevance."""
    folder = tmp_path_factory.mktemp("levels")
    pay, amount, relevance = ({"name": name, "loss": "pairwise_logistic"} for name in ("pay", "amount", "relevance"))
    content = {
        "name": "levels",
        "data": {"path": str(ranking_folder), "batch_size": 300},
        "tasks": [[pay, {**amount, "tolerance": 0.01}], relevance],
        "model": {"name": "scorer", "embedding_dim": 2, "units": [4]},
        "training": {"max_epochs": 2, "eta_lambda": 1.0, "later_weight": 0.3},  # for a scorer 0 by default
        "execution": {"evaluations_per_epoch": 2, "certificate_examples": 500},
        "storage": str(folder / "runs"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
    }
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(content))
    return prepare(str(file), [], lambda _: None)


@pytest.fixture(scope="module")
def tracked(prepared: PreparedExperiment) -> tuple[Notebook, tuple[StageRecord, ...]]:
    """The chain, run without Ray and tracked in memory."""
    spec = prepared.spec
    feed = MemoryFeed(str(prepared.folder), [task.label for task in spec.tasks], spec.batch_size, spec.training.seed)
    model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed)
    notebook = Notebook()
    run = ChainRun(notebook, spec, flatten(prepared.experiment), "levels")
    records = run_chain(spec, model, feed, StageStore(prepared.experiment.storage), Writing(run))
    run.finish()
    return notebook, records


def test_a_nested_list_is_one_level(prepared: PreparedExperiment) -> None:
    assert [[task.name for task in level] for level in prepared.spec.levels] == [["pay", "amount"], ["relevance"]]


def test_plan(prepared: PreparedExperiment) -> None:
    plan = plan_chain(prepared)
    assert [(stage.stage, stage.level, stage.protected) for stage in plan.stages] == [
        (0, (), ()),
        (1, ("pay", "amount"), ()),
        (2, ("relevance",), ("pay", "amount")),
    ]
    assert [stage.objective for stage in plan.stages] == [
        {"pay": 0.325, "amount": 0.325, "relevance": pytest.approx(0.35)},
        {"pay": 1.0, "amount": 1.0, "relevance": 0.3},
        {"relevance": 1.0},
    ]
    assert plan.grid_trials == plan.grid_points**3  # the grid weighs tasks, not levels
    stream = io.StringIO()
    Console(file=stream, width=100).print(plan_table(plan))
    assert "all tasks together" in stream.getvalue()
    assert "pay, amount + 0.3 × later" in stream.getvalue()
    assert f"{plan.grid_trials:,} trials" in stream.getvalue()


def test_a_run_per_stage_with_metrics_of_every_task(tracked: tuple[Notebook, tuple[StageRecord, ...]]) -> None:
    notebook, (joint, shared, last) = tracked
    assert notebook.names == ["levels", "stage 0: joint", "stage 1: pay, amount", "stage 2: relevance"]
    assert [tags.get("nmt.task") for tags in notebook.tags] == [None, "joint", "pay, amount", "relevance"]
    assert set(notebook.ended.values()) == {"FINISHED"}
    zeroth, first, second = (notebook.last(run) for run in (1, 2, 3))
    assert not [name for name in zeroth if name.startswith(("optimum", "lambda/"))]
    for task, value in joint.losses["test"].items():
        assert zeroth[f"test/loss/{task}"] == (value, joint.steps)
    for optimum in shared.optima:
        assert first[f"optimum/{optimum.task}"] == (optimum.train, shared.steps)
        assert second[f"shadow_price/{optimum.task}"] == (last.multipliers[optimum.task], last.steps)
    assert first["tolerance/amount"][0] == 0.01
    assert {name.split("/")[-1] for name in second if name.startswith("lambda/")} == {"pay", "amount"}


def test_the_certificate_is_logged_at_the_end_of_a_stage(tracked: tuple[Notebook, tuple[StageRecord, ...]]) -> None:
    notebook, records = tracked
    for run, record in enumerate(records, start=1):
        found = {name: value for name, value in notebook.last(run).items() if name.startswith("kkt/")}
        certificate = record.certificate
        assert certificate is not None
        assert certificate.examples == 600
        expected = {"kkt/stationarity": certificate.stationarity, "kkt/gradient_norm": certificate.gradient_norm}
        for task in record.protected:
            expected[f"kkt/feasibility/{task}"] = certificate.feasibility[task]
            expected[f"kkt/slackness/{task}"] = certificate.slackness[task]
        assert found == {name: (value, record.steps) for name, value in expected.items()}
        assert all(math.isfinite(value) for value in expected.values())


def test_a_stage_without_a_certificate_is_logged_too(
    prepared: PreparedExperiment, tracked: tuple[Notebook, tuple[StageRecord, ...]]
) -> None:
    notebook = Notebook()
    run = ChainRun(notebook, prepared.spec, {}, "older")
    for record in tracked[1]:
        run.write([Timed(StageFinished(replace(record, certificate=None), reused=True), 0)])
    run.finish()
    assert not [name for name in notebook.last(3) if name.startswith("kkt/")]
    assert "shadow_price/pay" in notebook.last(3)


def test_table_and_document(tracked: tuple[Notebook, tuple[StageRecord, ...]]) -> None:
    notebook, records = tracked
    summary = chain_summary(records)
    assert notebook.kept["summary.json"] == json.loads(json.dumps(summary))
    assert [(task["task"], task["stage"]) for task in summary["tasks"]] == [("pay", 1), ("amount", 1), ("relevance", 2)]
    assert [task["guarantee"]["status"] for task in summary["tasks"]] == ["held", "held", "not protected"]
    assert [stage["level"] for stage in summary["stages"]] == [[], ["pay", "amount"], ["relevance"]]
    assert "pay and amount are within their limits" in summary["sentence"]
    assert f"1 at most: {records[2].certificate.stationarity:.2f} (relevance)." in summary["sentence"]  # type: ignore[union-attr]
    solved, protected = (part for part in chain_table(records).renderables if isinstance(part, Table))
    rows = [[str(cell) for cell in column.cells] for column in solved.columns[:2]]
    assert rows == [["pay", "amount", "relevance"], ["1", "1", "2"]]
    assert [str(cell) for cell in protected.columns[0].cells] == ["pay", "amount"]


def test_pictures(tracked: tuple[Notebook, tuple[StageRecord, ...]]) -> None:
    notebook, _ = tracked
    multipliers, losses = (notebook.kept[f"figures/{name}.png"] for name in ("multipliers", "losses_against_optima"))
    labels = {str(line.get_label()) for line in multipliers.axes[0].get_lines()}
    assert {"λ pay", "λ amount"} <= labels
    titles = [axes.get_title(loc="left") for axes in losses.axes]
    for task in ("pay", "amount"):
        assert any(title.startswith(f"{task} held") for title in titles), titles
