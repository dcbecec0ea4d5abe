"""``nmt.run`` and what follows it, in one program, as a notebook or a scheduler would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.models import logged_model
from nmt.orchestrator.terminal.json_log import JsonLog
from nmt.orchestrator.terminal.output import JsonOutput
from nmt.orchestrator.verbs import run as verb

from ._table import experiment, write_table

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROGRAM = """
import json, sys
import mlflow, pandas as pd
import nmt

class Hook:
    seen = []
    def on_stage_start(self, event):
        self.seen.append(["start", event.number])
    def on_evaluation(self, event):
        raise ValueError("a mistake of the user")
    def on_stage_end(self, event):
        self.seen.append(["end", event.record.number])

before = mlflow.get_tracking_uri()
content = json.load(open("content.json"))
result = nmt.run(content, callbacks=[Hook()])
again = nmt.run(content)
frame = pd.read_parquet("rows.parquet").tail()
tracking = result.prepared.experiment.tracking
registered = [nmt.register(which, "ranker", although_broken=True).to_dict() for which in (result, content)]
predicted = nmt.predict(result, "rows.parquet", "out.csv", keep=["user"]).to_dict()
nmt.export(result, "folder")
print(json.dumps({
    "hooks": Hook.seen,
    "first": result.to_dict(),
    "again": again.to_dict(),
    "same_uri": before == mlflow.get_tracking_uri(),
    "predictions": [
        nmt.load(model, tracking=tracking).predict(frame).to_dict("records")
        for model in (result, result.model, "folder", registered[0]["uri"])
    ],
    "registered": registered,
    "predicted": predicted,
    "evaluated": nmt.evaluate(result, "rows.parquet", where="split=test", against="folder").to_dict(),
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    write_table(folder)
    (folder / "content.json").write_text(json.dumps(experiment()))
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def found(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    content: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return content


def test_hooks_follow_the_stages_and_their_mistakes_stop_nothing(
    done: subprocess.CompletedProcess[str], found: Mapping[str, Any]
) -> None:
    assert found["hooks"] == [[kind, stage] for stage in (0, 1, 2) for kind in ("start", "end")]
    assert "Hook.on_evaluation failed: ValueError: a mistake of the user; training goes on" in done.stderr


def test_a_model_predicts_the_same_wherever_it_is_loaded_from(found: Mapping[str, Any]) -> None:
    first, *others = found["predictions"]
    assert len(first) == 5
    assert others == [first] * 3


def test_another_run_of_a_finished_chain_logs_no_second_model(folder: Path, found: Mapping[str, Any]) -> None:
    address = found["first"]["mlflow_model"]
    assert address.startswith("models:/m-")
    assert found["again"]["mlflow_model"] == address
    assert found["again"]["mlflow_run_id"] != found["first"]["mlflow_run_id"]
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    one = client.get_experiment_by_name("visits")
    (model,) = client.search_logged_models([one.experiment_id])
    assert f"models:/{model.model_id}" == address
    assert model.source_run_id == found["first"]["mlflow_run_id"]
    assert len(client.search_logged_models(["0"])) == 0
    for key in ("first", "again"):
        run = client.get_run(found[key]["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


def test_registering_it_twice_makes_one_version(found: Mapping[str, Any]) -> None:
    one, other = found["registered"]
    assert one == other
    assert one["version"] == "1"


def test_the_data_set_is_an_input_of_the_run(folder: Path, found: Mapping[str, Any]) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.get_run(found["first"]["mlflow_run_id"])
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == "experiments.data.table: rows"
    assert given.dataset.digest == run.data.tags["nmt.data"]
    assert json.loads(given.dataset.source)["uri"] == str(folder / "rows.parquet")


def test_the_model_has_raw_rows_as_an_example(folder: Path, found: Mapping[str, Any]) -> None:
    (example,) = (folder / "mlartifacts").rglob("input_example.json")
    content = json.loads(example.read_text())
    assert content["columns"] == ["user", "age"]
    assert len(content["data"]) == logged_model.ROWS


def test_the_tracking_uri_of_the_process_is_left_alone(found: Mapping[str, Any]) -> None:
    assert found["same_uri"]


def test_files_are_predicted_and_evaluated(folder: Path, found: Mapping[str, Any]) -> None:
    assert found["predicted"]["rows"] == 600
    assert found["predicted"]["columns"] == ["user", "like", "finish", "problem"]
    assert len((folder / "out.csv").read_text().splitlines()) == 601
    assert found["evaluated"]["against"] == "folder"
    for task in found["evaluated"]["tasks"]:
        assert task["loss_difference"] == 0.0
        assert task["loss"] == pytest.approx(
            next(t["test_loss"] for t in found["first"]["tasks"] if t["task"] == task["task"]), abs=1e-6
        )


class Tracking:
    complete = True
    run_id = "r"


def test_a_store_that_does_not_take_the_model_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(prepared: object, run_id: str) -> str:
        raise OSError("no space left")

    lines: list[tuple[str, str]] = []

    class Log(JsonLog):
        def __init__(self) -> None: ...

        def write(self, event: str, message: str, level: Any = "info", **fields: Any) -> None:
            lines.append((event, message))

    monkeypatch.setattr(logged_model, "log_finished_model", fail)
    assert verb._log_model(None, Tracking(), JsonOutput(Log())) is None  # type: ignore[arg-type]
    ((event, message),) = lines
    assert event == "model_not_logged"
    assert message.startswith("the model is not in MLflow: no space left; nmt register logs it later")
