"""Names of a user's choice reach MLflow whatever they hold, and no path outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.tracking.names import MOST, folder_name, run_name, valid_key
from nmt.orchestrator.tracking.store import Point, TrackingStore

ODD = [
    *("CTR (7d)", "click+buy", "50%", "a?b", "Ü-Rate", "x" * 400, "a//b"),
    *("../up", "./a", "a/../b", "[like]", 'q"q', "a=b", ""),
]


@pytest.mark.parametrize("name", ["like", "test/auc/like", "a b", "a.b-c_d:e", "größe"])
def test_what_mlflow_takes_is_left_alone(name: str) -> None:
    assert valid_key(name) == name


def test_different_names_stay_different() -> None:
    names = [*ODD, "CTR [7d]", "click&buy", "51%", "x" * 401]
    assert len({valid_key(f"test/auc/{name}") for name in names}) == len(names)
    assert len({folder_name(name) for name in names}) == len(names)
    assert all(len(valid_key(f"test/auc/{name}")) <= MOST for name in names)
    assert len(run_name("x" * 400)) == MOST


def test_mlflow_takes_them_all(tmp_path: Path, database: Path) -> None:
    shutil.copy(database, tmp_path / "mlflow.db")
    store = TrackingStore(f"sqlite:///{tmp_path}/mlflow.db", "names")
    params = {f"tasks.{name}": "1" for name in ODD}
    run = store.open_run("one", "n" * 400, {f"nmt.{name}": "2" for name in ODD}, params)
    for _ in range(2):
        store.mark_uncertain(run.run_id)  # as after a failed request: nothing is logged twice
        store.log(run.run_id, [Point(f"test/auc/{name}", 0.5, step, 1) for name in ODD for step in (1, 2)])
    found = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(run.run_id)
    assert len(found.data.params) == len(found.data.metrics) == len(ODD)
    assert store.logged == 2 * len(ODD)
    assert found.data.metrics[valid_key("test/auc/CTR (7d)")] == 0.5


@pytest.mark.parametrize("name", ["/x/y", "../up", "../../../x", "a/b", "..", "/", "~", "a\\b"])
def test_artifacts_stay_below_their_folder(tmp_path: Path, database: Path, name: str) -> None:
    (tmp_path / "deep").mkdir()
    shutil.copy(database, tmp_path / "deep" / "mlflow.db")
    store = TrackingStore(f"sqlite:///{tmp_path}/deep/mlflow.db", name)
    run = store.open_run("one", "run", {}, {})
    store.file(run.run_id, b"content", "files/a.txt")
    (file,) = tmp_path.rglob("a.txt")
    inside = file.relative_to(tmp_path / "deep" / "mlartifacts")
    assert len(inside.parts) == 5  # experiment, run, artifacts, files, a.txt
