"""``nmt ui FILE`` opens on the file's experiment."""

from __future__ import annotations

import shutil
from pathlib import Path

from nmt.orchestrator.tracking.store import TrackingStore
from nmt.orchestrator.verbs.ui import page_of


def test_the_page_of_an_experiment(tmp_path: Path, database: Path) -> None:
    shutil.copy(database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = TrackingStore(uri, "ranker")
    server = "http://127.0.0.1:5000"
    assert page_of(uri, server, "ranker").startswith(f"{server}/#/experiments/{store.experiment_id}/runs")
    assert page_of(uri, server, "nobody") == server
    assert page_of(uri, server, None) == server
    assert page_of("http://127.0.0.1:1", "http://me:secret@127.0.0.1:1", "ranker") == "http://127.0.0.1:1"
