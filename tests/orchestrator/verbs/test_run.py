"""``nmt run`` as a user runs it: one chain on Ray Train, tracked in MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.orchestrator._commands import in_this_process, read

ROOT = Path(__file__).parents[3]
TASKS = ("pay", "amount", "relevance")

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True)
class Project:
    """A folder with an experiment file, its storage and its tracking store."""

    folder: Path
    file: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "nmt.orchestrator.cli", *arguments]

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}

    def nmt(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(verb, str(self.file), *arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, *arguments: str) -> dict[str, Any]:
        done = self.nmt("run", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, kind: str) -> list[Any]:
        client = self.client
        experiment = client.get_experiment_by_name("ranking")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`nmt.kind` = '{kind}'")
        return sorted(found, key=lambda run: run.info.start_time)


def project(folder: Path, data: Path, **training: object) -> Project:
    content = {
        "name": "ranking",
        "data": {"path": str(data), "batch_size": 128},
        "tasks": [{"name": name, "loss": "pairwise_logistic"} for name in TASKS],
        "model": {"name": "scorer", "embedding_dim": 4, "units": [16]},
        "training": {"max_epochs": 3, "patience": 6, **training},
        "scaling": {"workers": 2},
        "storage": str(folder / "runs"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
    }
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(content))
    return Project(folder, file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ranking_folder: Path) -> tuple[Project, dict[str, Any]]:
    """A chain that ran on two workers."""
    done = project(tmp_path_factory.mktemp("two"), ranking_folder)
    return done, done.run()


def test_the_guarantee_holds_and_is_shown(finished: tuple[Project, dict[str, Any]]) -> None:
    _, document = finished
    assert document["held"] is True
    assert [task["task"] for task in document["tasks"]] == list(TASKS)
    assert [stage["stage"] for stage in document["stages"]] == [0, 1, 2, 3]
    assert document["cost"]["stages"] == 4
    assert document["cost"]["stages_reused"] == 0
    assert document["tracking_failure"] is None


def test_mlflow_holds_one_chain_and_four_stages(finished: tuple[Project, dict[str, Any]]) -> None:
    done, document = finished
    (chain,) = done.runs("chain")
    stages = done.runs("stage")
    assert chain.info.run_id == document["mlflow_run_id"]
    assert [stage.data.tags["nmt.task"] for stage in stages] == ["joint", *TASKS]
    assert all(stage.data.tags["mlflow.parentRunId"] == chain.info.run_id for stage in stages)
    assert all(run.info.status == "FINISHED" for run in [chain, *stages])
    assert len({stage.data.tags["nmt.stage_key"] for stage in stages}) == 4
    for run in [chain, *stages]:
        assert {"method", "eta_theta", "eta_lambda", "weights"} <= run.data.params.keys()
        assert run.data.metrics["cost/samples"] > 0
        assert run.data.metrics["cost/steps"] > 0
    assert chain.data.metrics["cost/samples"] == sum(stage.data.metrics["cost/samples"] for stage in stages)
    assert (chain.data.params["training.recipe"], chain.data.params["training.joint_weight"]) == ("joint", "0.65")
    for task in TASKS:
        assert chain.data.metrics[f"optimum/{task}"] > 0
        assert f"test/pair_accuracy/{task}" in chain.data.metrics


def test_mlflow_holds_the_histories(finished: tuple[Project, dict[str, Any]]) -> None:
    done, _ = finished
    client = done.client
    stage = done.runs("stage")[3]
    steps = int(stage.data.metrics["cost/steps"])
    for name in ("train/loss/relevance", "lambda/pay", "lambda/amount", "violation/pay"):
        history = client.get_metric_history(stage.info.run_id, name)
        assert [point.step for point in history] == list(range(1, steps + 1)), name
    assert len(client.get_metric_history(stage.info.run_id, "valid/loss/pay")) > 2
    pictures = {artifact.path for artifact in client.list_artifacts(done.runs("chain")[0].info.run_id, "figures")}
    assert pictures == {"figures/multipliers.png", "figures/losses_against_optima.png"}


def test_the_same_command_again_trains_nothing(finished: tuple[Project, dict[str, Any]]) -> None:
    done, before = finished
    after = done.run()
    assert after["cost"]["stages"] == 0
    assert after["cost"]["stages_reused"] == 4
    assert after["cost"]["samples_reused"] == before["cost"]["samples"]
    assert after["tasks"] == before["tasks"]
    again = [stage for stage in done.runs("stage") if "nmt.reused_from" in stage.data.tags]
    first = [stage for stage in done.runs("stage") if "nmt.reused_from" not in stage.data.tags]
    assert [stage.data.tags["nmt.reused_from"] for stage in again] == [stage.info.run_id for stage in first]
    planned = read(in_this_process(["plan", str(done.file), "--json"], done.folder))
    assert all(stage["finished"] for stage in planned["stages"])
    assert planned["max_samples"] == 0


@pytest.mark.drill
def test_one_worker_finds_the_optima_of_two(
    finished: tuple[Project, dict[str, Any]], tmp_path: Path, ranking_folder: Path
) -> None:
    _, two = finished
    one = project(tmp_path, ranking_folder).run("--set", "scaling.workers=1")
    for alone, together in zip(one["tasks"], two["tasks"], strict=True):
        for split in ("train", "valid"):
            assert alone["optimum"][split] == pytest.approx(together["optimum"][split], rel=1e-4)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    while line := process.stderr.readline():
        yield line


@pytest.mark.parametrize(
    ("how", "status", "word"),
    [
        (signal.SIGTERM, 143, "terminated"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.drill),
    ],
)
def test_an_interrupted_run_resumes(
    tmp_path: Path, ranking_folder: Path, how: signal.Signals, status: int, word: str
) -> None:
    interrupted = project(tmp_path, ranking_folder, max_epochs=15, patience=1000)
    process = subprocess.Popen(
        interrupted.command("run", str(interrupted.file)),
        cwd=interrupted.folder,
        env=interrupted.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in lines_of(process):
        said.append(line)
        if line.startswith("stage 0/3") and "done" in line:
            break
    process.send_signal(how)  # only to the command, which must end Ray's processes itself
    rest = process.communicate(timeout=120)[1]
    assert process.returncode == status, "".join(said) + rest
    assert f"{word}; finished stages are kept, and the same command resumes from them" in rest
    assert "*** SIG" not in rest  # Ray's own handler prints a stack
    assert "Traceback" not in rest
    (chain,) = interrupted.runs("chain")
    assert chain.info.status == "KILLED"
    assert not [run for run in interrupted.runs("stage") if run.info.status == "RUNNING"]

    document = interrupted.run("--set", "execution.record_every=5")
    assert document["cost"]["stages_reused"] >= 1
    assert document["cost"]["stages_reused"] + document["cost"]["stages"] == 4
