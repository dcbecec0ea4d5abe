"""A model in MLflow: logged once, registered with its guarantees, and loaded without a pickle."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.models.loading import load_predictor
from nmt.orchestrator.models.mlflow_model import log_model, register_model, requirements
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor
from tests.orchestrator.models.test_files import model, table

GUARANTEE = {
    "task": "like",
    "metric": "auc",
    "guarantee": {"status": "held", "accept_on": "loss", "text": "0.0000 ≤ 0.0010"},
    "deviation": {
        "loss": {"valid": {"difference": 0.0005, "standard_error": 0.001, "allowed": 0.001, "held": True}},
        "metric": {"valid": {"difference": -0.002, "standard_error": 0.003, "allowed": 0.003, "held": True}},
    },
}


def trained(status: str = "held", key: str = "abc") -> TrainedModel:
    guarantee = {**GUARANTEE, "guarantee": {"status": status, "against": "optimum"}}
    return replace(model(), guarantees=[guarantee], origin={"stage_key": key, "experiment": "tests"})


@pytest.fixture
def tracked(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A tracking store with a finished run: its address, and the run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("tests", artifact_location=str(tmp_path / "artifacts")))
    client.set_terminated(run.info.run_id, end_time=123456789)
    return uri, run.info.run_id


def test_a_model_goes_into_the_registry_and_back(tracked: tuple[str, str]) -> None:
    uri, run_id = tracked
    address = log_model(uri, run_id, trained(), lambda: table().to_pandas().head(3))
    assert log_model(uri, run_id, trained()) == address
    made = register_model(uri, run_id, address, trained(), "ranker", "champion")
    assert register_model(uri, run_id, address, trained(), "ranker", "champion") == made
    assert (made.version, made.uri) == ("1", "models:/ranker/1")
    client = MlflowClient(uri)
    assert client.get_run(run_id).info.end_time == 123456789
    version = client.get_model_version_by_alias("ranker", "champion")
    assert version.run_id == run_id
    assert version.tags["nmt.guarantee.like"] == "held"
    assert version.tags["nmt.deviation.like.loss.valid"] == "0.0005 ± 0.001"
    assert version.tags["nmt.deviation.like.auc.valid"] == "-0.002 ± 0.003"
    rows = table()
    expected = Predictor(model()).predict(rows).table.to_pandas()
    assert load_predictor("models:/ranker@champion", uri).predict(rows).table.to_pandas().equals(expected)
    mlflow.set_tracking_uri(uri)
    served = mlflow.pyfunc.load_model("models:/ranker@champion")
    found = served.predict(rows.to_pandas())
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    logged = mlflow.artifacts.download_artifacts("models:/ranker@champion")
    assert not list(Path(logged).rglob("*.pkl"))


def test_a_broken_guarantee_is_not_registered_unless_told(tracked: tuple[str, str]) -> None:
    uri, run_id = tracked
    broken = trained("broken")
    address = log_model(uri, run_id, broken)
    with pytest.raises(RequestError, match="not registered: like is worse than its optimum"):
        register_model(uri, run_id, address, broken, "ranker", "champion")
    assert MlflowClient(uri).search_registered_models() == []
    made = register_model(uri, run_id, address, broken, "ranker", None, although_broken=True)
    assert MlflowClient(uri).get_model_version("ranker", made.version).tags["nmt.guarantee.like"] == "broken"


def test_the_next_model_is_the_next_version(tracked: tuple[str, str]) -> None:
    uri, run_id = tracked
    for key in ("one", "two"):
        found = trained(key=key)
        made = register_model(
            uri, run_id, log_model(uri, run_id, found), found, "ranker", "champion", although_worse=True
        )
    assert made.version == "2"
    assert MlflowClient(uri).get_model_version_by_alias("ranker", "champion").version in ("2", 2)


def test_requirements_are_pinned_and_have_no_local_part() -> None:
    assert all("==" in line and "+" not in line for line in requirements())
    assert any(line.startswith("torch==") for line in requirements())
