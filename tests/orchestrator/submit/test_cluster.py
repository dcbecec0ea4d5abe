"""A sweep on a real cluster with a token: submitted, followed, left alone, found again, stopped, gone on with."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema

from ..._documents import the_command
from .._commands import Project
from ._cluster import LocalCluster, local_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OWN_LOSS = '''
"""A user's own loss, which waits in the second stage for as long as a file is there."""
import time
from pathlib import Path

from beside import cross_entropy


def gated(output, label, batch, gate, stages):
    while Path(gate).exists() and any(Path(stages).glob("*/record.json")):
        time.sleep(0.02)
    return cross_entropy(output, label, batch)
'''

BESIDE = "from nmt.trainers.losses.binary_cross_entropy import binary_cross_entropy as cross_entropy\n"


def of_readme(start: str) -> tuple[str, ...]:
    """Words of README's only command that begins so, without ``nmt`` and the address, which stands at its end."""
    nmt, *words, option, address = shlex.split(the_command(start))
    assert (nmt, option, address) == ("nmt", "--address", "http://HOST:8265")
    return tuple(words)


DOCTOR = of_readme("nmt doctor experiment.yaml")
SWEEP = of_readme("nmt submit sweep experiment.yaml --address http://HOST")
STATUS = of_readme("nmt submit status")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, database: Path, cluster: LocalCluster) -> Project:
    """Two tasks, two learning rates, and a loss of the user's own in a module beside the experiment."""
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(2, 4))
    splits = {}
    for split, rows in zip(SPLITS, (1024, 256, 256), strict=True):
        x = draw.normal(size=(rows, 4))
        labels = (x @ directions.T + draw.normal(size=(rows, 2)) > 0).astype(float)
        columns = {**{f"x{i}": x[:, i] for i in range(4)}, "like": labels[:, 0], "finish": labels[:, 1]}
        splits[split] = [pa.table(columns)]
    numeric = {f"x{i}": Numeric() for i in range(4)}
    write(tmp_path / "data", Schema(categorical={}, numeric=numeric, labels={"like": 2, "finish": 2}), splits)
    (tmp_path / "losses.py").write_text(OWN_LOSS)
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "gate").touch()
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    options = {"gate": str(tmp_path / "gate"), "stages": str(tmp_path / "runs" / "stages")}
    content = {
        "name": "ranking",
        "data": {"path": "data", "batch_size": 128},
        "tasks": [
            {"name": "like", "loss": "binary_cross_entropy"},
            {"name": "finish", "loss": "losses:gated", "metric": "auc", "options": options},
        ],
        "model": {"name": "shared_bottom", "embedding_dim": 2, "bottom_units": [4], "tower_units": [4]},
        "training": {"recipe": "paper", "max_epochs": 1, "patience": None},
        "sweep": {"eta_theta": [0.001, 0.01]},
        "storage": "./runs",
    }
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(content))
    return Project(tmp_path, cluster.environment)


def nmt(cluster: LocalCluster, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Give a command, and wait for its end."""
    command = [sys.executable, "-m", "nmt.orchestrator.cli", *words, "--address", cluster.address]
    environment = {**cluster.environment, **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400
    )


class Follower:
    """A command that follows a job, and what it wrote so far."""

    def __init__(self, cluster: LocalCluster, folder: Path, number: int, *words: str) -> None:
        self._out = folder / f"{number}.txt"
        command = [sys.executable, "-m", "nmt.orchestrator.cli", *words, "--address", cluster.address]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=cluster.environment, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    def wait_for(self, holds: Callable[[str], Any]) -> None:
        end = time.monotonic() + 300
        while not holds(self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.1)

    def signal(self, how: signal.Signals) -> int:
        os.kill(self.process.pid, how)
        return self.process.wait(60)


def job_id(said: str) -> str:
    return next(line.partition(":")[0] for line in said.splitlines() if line.startswith("nmt-sweep-ranking-"))


def test_a_sweep_survives_its_client_and_goes_on_after_a_stop(cluster: LocalCluster, project: Project) -> None:
    folder = project.folder

    # Refused before anything is sent.
    wrong = nmt(cluster, folder, *SWEEP, RAY_AUTH_TOKEN="another-token-0123456789")
    assert wrong.returncode == 2
    assert "wants a token" in wrong.stderr
    large = nmt(cluster, folder, *SWEEP, "--set", "tune.workers_per_trial=3")
    assert large.returncode == 2
    assert "tune.workers_per_trial: 3 workers of 1 CPU" in large.stderr
    assert "can never be placed" in large.stderr

    # The client is killed: the job goes on, and the same command finds it.
    first = Follower(cluster, folder, 1, *SWEEP)
    first.wait_for(lambda said: "stage 1/2 like: done" in said)
    sent = job_id(first.said)
    first.signal(signal.SIGKILL)
    second = Follower(cluster, folder, 2, *SWEEP)
    second.wait_for(lambda said: "stage 1/2 like: done" in said)
    assert f"{sent}: was submitted before and still runs" in second.said
    assert second.signal(signal.SIGINT) == 130
    assert f"attach: nmt submit logs {sent} --follow" in second.said

    # Stopped, its run in MLflow is ended, and a finished stage stays.
    stopped = nmt(cluster, folder, "submit", "stop", sent, "--json")
    assert json.loads(stopped.stdout)["status"] == "STOPPED", stopped.stderr
    assert [run.info.status for run in project.runs("sweep")] == ["KILLED"]
    kept = project.stages
    assert len(kept) >= 1

    # The same submission goes on from there, and hands on how it ended.
    (folder / "gate").unlink()
    again = nmt(cluster, folder, *SWEEP, "--json")
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert (document["id"], document["status"], document["exit_status"]) == (f"{sent}-2", "SUCCEEDED", 0)
    assert kept < project.stages
    assert set(project.trained.values()) == {1}
    assert sum(project.trained.values()) == 4

    # Nobody reads the token anywhere.
    shown = nmt(cluster, folder, *STATUS, "--json")
    assert [job["status"] for job in json.loads(shown.stdout)["jobs"]] == ["SUCCEEDED", "STOPPED"]
    logged = nmt(cluster, folder, "submit", "logs", f"{sent}-2")
    assert "Winner, by priority" in logged.stdout
    written = [first.said, second.said, again.stderr, shown.stdout, logged.stdout]
    written += [path.read_text(errors="replace") for path in cluster.logs.glob("session_*/logs/**/*") if path.is_file()]
    assert cluster.token not in "".join(written)


def test_a_failure_is_handed_on(cluster: LocalCluster, project: Project) -> None:
    failed = nmt(cluster, project.folder, "submit", "run", "experiment.yaml", "--set", "data.path=nowhere", "--json")
    assert failed.returncode == 2
    assert "nowhere is not a prepared data set" in failed.stderr
    assert json.loads(failed.stdout)["status"] == "FAILED"


@pytest.mark.drill
def test_the_doctor_looks_at_a_cluster(cluster: LocalCluster, project: Project) -> None:
    done = nmt(cluster, project.folder, *DOCTOR, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert {"job server", "nodes", "job", "image", "nodes alike", "storage", "tracking"} <= set(found)
    assert found["image"]["detail"] == "has the packages and versions of this machine"
    assert "2 CPUs" in found["nodes"]["detail"]
