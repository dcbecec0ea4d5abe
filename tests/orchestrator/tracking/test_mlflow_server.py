"""MLflow as ``infra/kubernetes`` runs it, on a real PostgreSQL and an S3 store, with a sweep and a grid."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.orchestrator import _postgresql
from tests.orchestrator._commands import Project, ended, environment, project, ray_cluster, read
from tests.orchestrator._server import free_port

MANIFESTS = Path(__file__).resolve().parents[3] / "infra" / "kubernetes" / "mlflow"
SECRETS = {
    "postgres-password": "of-postgresql",
    "admin-password": "of-the-administrator",
    "flask-secret-key": "of-the-forms",
    "access-key-id": "key",
    "secret-access-key": "secret-of-the-store",
}
USER, PASSWORD = "nmt", "of-the-drivers"
BUCKET = "nmt"
TASKS = ("pay", "amount")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # each of many hundred requests is a login, which costs the server 0.1 s of a processor
    pytest.mark.skipif(_postgresql.why_not() is not None, reason=str(_postgresql.why_not())),
]


@dataclass(frozen=True)
class Deployed:
    """The server of the manifest, with addresses of this machine.

    Attributes:
        uri: Address at which it listens.
        database: Port of its PostgreSQL.
        store: Address of its S3 store.
    """

    uri: str
    database: int
    store: str

    @property
    def behind(self) -> str:
        """Tracking URI of its database, for the many reads of a test: a login at the server takes 0.1 s."""
        return f"postgresql://mlflow:{SECRETS['postgres-password']}@127.0.0.1:{self.database}/mlflow"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query to its database."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.database, user="mlflow", password=SECRETS["postgres-password"], dbname="mlflow"
        ) as connection:
            return connection.execute(query).fetchall()

    def objects(self) -> set[str]:
        """Return the keys of all objects in the bucket."""
        import boto3

        client = boto3.client("s3", endpoint_url=self.store, region_name="us-east-1")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


@pytest.fixture(scope="module")
def credentials() -> Iterator[None]:
    """Set this process's credentials for the store and the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", SECRETS["access-key-id"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["secret-access-key"])
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        yield


@pytest.fixture(scope="module")
def store(credentials: None) -> Iterator[str]:
    """An S3 store with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # thousands of requests would bury the message of a failure
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.stop()


@pytest.fixture(scope="module")
def deployed(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("server")
    with _postgresql.postgresql("mlflow", SECRETS["postgres-password"], "mlflow") as database:
        port = free_port()
        command, variables = _of_the_manifest(folder, store, database, port)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
            )
        try:
            found = Deployed(f"http://127.0.0.1:{port}", database, store)
            while not _answers(f"{found.uri}/health"):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.3)
                assert process.returncode is None, (folder / "log").read_text()
            _create_user(found.uri)
            yield found
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _of_the_manifest(folder: Path, store: str, database: int, port: int) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of the manifest's container, with addresses of this machine."""
    documents = list(yaml.safe_load_all((MANIFESTS / "mlflow.yaml").read_text()))
    (container,) = next(found for found in documents if found["kind"] == "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    here = {"@postgres:5432/": f"@127.0.0.1:{database}/", "$(ARTIFACTS)": f"s3://{BUCKET}/mlflow"}
    here |= {"--host=0.0.0.0": "--host=127.0.0.1", ":5000": f":{port}", "--port=5000": f"--port={port}"}
    (folder / "basic_auth.ini").write_text(_replaced((MANIFESTS / "basic_auth.ini").read_text(), here))
    given = {entry["name"]: _value(entry) for entry in container["env"]}
    given |= {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"), "MLFLOW_S3_ENDPOINT_URL": store}
    command = [sys.executable, "-m", *container["command"], *(_replaced(word, here) for word in container["args"])]
    return command, {**os.environ, **given}


def _replaced(text: str, by: Mapping[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text


def _value(entry: Mapping[str, Any]) -> str:
    return str(entry["value"]) if "value" in entry else SECRETS[entry["valueFrom"]["secretKeyRef"]["key"]]


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _create_user(uri: str) -> None:
    """Create the user, as the README does with curl."""
    administrator = b64encode(f"admin:{SECRETS['admin-password']}".encode()).decode()
    headers = {"Authorization": f"Basic {administrator}", "Content-Type": "application/json"}
    body = json.dumps({"username": USER, "password": PASSWORD}).encode()
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/users/create", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def _status(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class TestTheServer:
    def test_requires_a_login(self, deployed: Deployed) -> None:
        assert _status(f"{deployed.uri}/health") == 200
        assert _status(f"{deployed.uri}/api/2.0/mlflow/experiments/get?experiment_id=0") == 401

    def test_answers_only_to_its_names(self, deployed: Deployed) -> None:
        port = deployed.uri.rpartition(":")[2]
        address = f"{deployed.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
        for host in ("mlflow", "mlflow.nmt.svc.cluster.local", "localhost"):
            assert _status(address, Host=f"{host}:{port}") == 401, host
        assert _status(address, Host=f"mlflow.example.com:{port}") == 403


class TestASweepAndAGridAtOnce:
    """Two commands on one cluster log to one server, each with several concurrent trials."""

    @pytest.fixture(scope="class")
    @classmethod
    def done(
        cls, deployed: Deployed, ranking_folder: Path, database: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[tuple[Project, dict[str, Any], dict[str, Any]]]:
        ray_folder = Path(tempfile.mkdtemp(prefix="nmt-server-", dir="/tmp"))
        variables = {**environment(ray_folder), "AWS_ENDPOINT_URL": deployed.store, "AWS_EC2_METADATA_DISABLED": "true"}
        one = project(
            tmp_path_factory.mktemp("project"),
            ranking_folder,
            database,
            variables,
            tasks=[{"name": name, "loss": "pairwise_logistic"} for name in TASKS],
            sweep={"eta_theta": [0.003, 0.01], "eta_lambda": [1.0, 10.0]},
            grid={"points": 2, "baselines": False, "limit": 2},
            scaling={"cpus_per_worker": 0.25},
            storage=f"s3://{BUCKET}/runs",
            tracking=deployed.uri,
        )
        try:
            with ray_cluster(variables) as address:
                commands = [one.start("sweep", address=address), one.start("grid", address=address)]
                documents = [read(ended(command)) for command in commands]
            # A command waits a few seconds for a slow server; this one logs what is then missing.
            read(one.nmt("sync"))
            yield one, documents[0], documents[1]
        finally:
            one.close()
            shutil.rmtree(ray_folder, ignore_errors=True)

    def test_every_record_is_there_once(
        self, done: tuple[Project, dict[str, Any], dict[str, Any]], deployed: Deployed
    ) -> None:
        _, swept, grid = done
        assert len(swept["trials"]) == 4
        runs = _runs(deployed.behind)
        kinds = Counter(run.data.tags["nmt.kind"] for run in runs)
        trials = len(grid["trials"])
        assert kinds == {"sweep": 1, "chain": 4, "stage": 4 * len(TASKS), "grid": 1, "weights": trials}
        assert max(Counter(run.data.tags["nmt.run_uuid"] for run in runs).values()) == 1
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {name for (name,) in deployed.rows("SELECT lifecycle_stage FROM runs")} == {"active"}
        twice = "SELECT run_uuid, key, step FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert deployed.rows(twice) == []

    def test_trials_logged_at_once(
        self, done: tuple[Project, dict[str, Any], dict[str, Any]], deployed: Deployed
    ) -> None:
        """Without concurrent trials, this class would not test concurrent writers."""
        trials = [run.info for run in _runs(deployed.behind) if run.data.tags["nmt.kind"] in ("chain", "weights")]
        under_way = [sum(one.start_time <= other.start_time < one.end_time for one in trials) for other in trials]
        assert max(under_way) >= 4

    def test_nothing_is_missing(
        self,
        done: tuple[Project, dict[str, Any], dict[str, Any]],
        deployed: Deployed,
        tmp_path: Path,
        database: Path,
    ) -> None:
        """A fresh store gets the same points from the storage as the server got during training."""
        one, _, _ = done
        shutil.copy(database, tmp_path / "other.db")
        other = f"sqlite:///{tmp_path}/other.db"
        read(one.nmt("sync", "--tracking", other))
        assert _points(deployed.behind) == _points(other)

    def test_stages_and_artifacts_are_in_the_bucket(
        self, done: tuple[Project, dict[str, Any], dict[str, Any]], deployed: Deployed
    ) -> None:
        one, _, _ = done
        keys = {run.data.tags["nmt.stage_key"] for run in _runs(deployed.behind) if "nmt.stage_key" in run.data.tags}
        objects = deployed.objects()
        assert {f"runs/stages/{key}/record.json" for key in keys} <= objects
        client = MlflowClient(deployed.uri)
        listed = {
            f"mlflow/{run.info.experiment_id}/{run.info.run_id}/artifacts/{path}"
            for run in _runs(deployed.behind)
            if run.data.tags["nmt.kind"] != "stage"  # what a stage had would be too much in the bucket
            for path in _artifacts(client, run.info.run_id)
        }
        assert listed == {key for key in objects if key.startswith("mlflow/")}
        assert len(listed) >= 6  # a document for each chain, the sweep and the grid
        assert not (one.folder / "mlartifacts").exists()


def _runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ranking")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def _points(uri: str) -> dict[tuple[str, str], Counter[tuple[str, int, float]]]:
    """Return the points of chains, stages and weights, by kind and UUID, without measured times."""
    client = MlflowClient(uri)
    return {
        (run.data.tags["nmt.kind"], run.data.tags["nmt.run_uuid"]): Counter(
            (name, point.step, point.value)
            for name in run.data.metrics
            if name not in ("cost/wall_seconds", "cost/worker_seconds")
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for run in _runs(uri)
        if run.data.tags["nmt.kind"] in ("chain", "stage", "weights")
    }


def _artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    for found in client.list_artifacts(run_id, folder):
        if found.is_dir:
            yield from _artifacts(client, run_id, found.path)
        else:
            yield found.path
