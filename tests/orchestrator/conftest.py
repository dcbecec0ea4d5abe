"""Fixtures of the orchestrator's tests: a small ranking data set and an experiment file on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from mlflow import MlflowClient

from nmt.orchestrator.tracking import backlog, writer
from nmt.orchestrator.trials.group_outcome import GroupOutcome
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema
from tests.drill.site import Site, Size, prepare_site
from tests.drill.trial import fresh_trial
from tests.drill.undisturbed import Undisturbed, run_undisturbed

from . import _commands, _group
from ._server import Server
from ._tracked import Project, in_folder

DRILL = Size(train_rows=6_000, vocabulary=200, batch_size=100, epochs=3, checkpoint_every=30, pace=0.01)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def ranking_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of 6 to 11 documents whose three labels depend on different directions of the same features."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 6))
    first = 0
    splits = {}
    for split, lists in zip(SPLITS, (1500, 500, 500), strict=True):
        sizes = rng.integers(6, 12, lists)
        features = rng.normal(size=(sizes.sum(), 6))
        utility = features @ directions.T + rng.gumbel(size=(sizes.sum(), 3))
        pay = (utility[:, 0] > 1.5).astype(float)
        columns = {
            "qid": np.repeat(np.arange(first, first + lists), sizes),
            "shop": rng.integers(1, 20, sizes.sum()),
            **{f"x{i}": features[:, i] for i in range(6)},
            "pay": pay,
            "amount": np.where(pay > 0, np.exp(utility[:, 1]), np.nan),
            "relevance": np.clip(np.floor(utility[:, 2]), 0, 2),
            "unlabelled": np.full(sizes.sum(), np.nan),
            "constant": np.ones(sizes.sum()),
        }
        first += lists
        splits[split] = [pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})]
    schema = Schema(
        categorical={"shop": 21},
        numeric={f"x{i}": Numeric() for i in range(6)},
        labels={"pay": 2, "amount": 0, "relevance": 3, "unlabelled": 2, "constant": 2},
        query="qid",
        source="synthetic lists",
    )
    folder = tmp_path_factory.mktemp("ranking") / "lists"
    write(folder, schema, splits)
    return folder


@pytest.fixture
def experiment_file(ranking_folder: Path, tmp_path: Path) -> Path:
    """A three-task experiment that stores and tracks below ``tmp_path``."""
    content = {
        "name": "ranking",
        "data": {"path": str(ranking_folder), "batch_size": 128},
        "tasks": [{"name": name, "loss": "pairwise_logistic"} for name in ("pay", "amount", "relevance")],
        "model": {"name": "scorer", "embedding_dim": 4, "units": [16]},
        "training": {"eta_lambda": 10.0, "max_epochs": 2, "patience": 4},
        "storage": str(tmp_path / "runs"),
        "tracking": f"sqlite:///{tmp_path}/mlflow.db",
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, empty; to be copied, for their making takes seconds."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, database: Path) -> list[dict[str, Any]]:
    """What MLflow has of a chain during which nothing happened."""
    project = in_folder(tmp_path_factory.mktemp("undisturbed"), database)
    tracking = project.run()
    assert tracking.complete, tracking.failure
    return project.content()


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, database: Path) -> tuple[Project, GroupOutcome]:
    """A sweep during which nothing happened."""
    project = in_folder(tmp_path_factory.mktemp("swept"), database)
    return project, _group.sweep(project)


@pytest.fixture(scope="session")
def undisturbed_sweep(swept: tuple[Project, GroupOutcome]) -> dict[str, Any]:
    project, _ = swept
    (tree,) = _group.trees(project)
    return _group.content(project, tree)


@pytest.fixture(scope="session")
def gridded(tmp_path_factory: pytest.TempPathFactory, database: Path) -> tuple[Project, GroupOutcome]:
    """A grid with baselines during which nothing happened."""
    project = in_folder(tmp_path_factory.mktemp("gridded"), database)
    return project, _group.grid(project)


@pytest.fixture(scope="session")
def undisturbed_grid(gridded: tuple[Project, GroupOutcome]) -> dict[str, Any]:
    project, _ = gridded
    (tree,) = _group.trees(project)
    return _group.content(project, tree)


@pytest.fixture
def project(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty storage and an empty tracking store, tried again without delay."""
    monkeypatch.setattr(writer, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(writer, "LONGEST_DELAY", 0.001)
    monkeypatch.setattr(backlog, "FIRST_DELAY", 0.001)
    return in_folder(tmp_path, database)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Servers that are ended with the test."""
    started: list[Server] = []
    yield started
    for server in started:
        server.stop(signal.SIGKILL)


@pytest.fixture
def nmt(tmp_path: Path) -> Command:
    """Runs the command ``nmt`` as a person would, in an empty folder."""

    def run(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nmt.orchestrator.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, ranking_folder: Path, database: Path) -> Iterator[_commands.Start]:
    """Makes projects whose commands start a Ray of their own, or join one, and know nothing of others."""
    # Paths of sockets are short: Ray's folder cannot be below just any folder.
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-sweep-", dir="/tmp"))
    made = []

    def make(name: str, **sections: Any) -> _commands.Project:
        folder = tmp_path_factory.mktemp(name)
        made.append(_commands.project(folder, ranking_folder, database, _commands.environment(ray_folder), **sections))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()
        shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a running cluster, which commands join."""
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-joined-", dir="/tmp"))
    try:
        with _commands.ray_cluster(_commands.environment(ray_folder)) as found:
            yield found
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def drill_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Data and model of a short fault drill."""
    with prepare_site(tmp_path_factory.mktemp("drill"), DRILL) as ground:
        yield ground


@pytest.fixture(scope="session")
def undisturbed_drill(drill_site: Site) -> Undisturbed:
    """What it leaves when nothing happens."""
    with fresh_trial(drill_site, "undisturbed") as trial:
        return run_undisturbed(trial)
