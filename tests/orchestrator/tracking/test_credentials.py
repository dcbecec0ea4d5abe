"""Addresses of tracking stores: credentials are neither printed nor stored."""

from __future__ import annotations

import pytest
from mlflow.store.db import utils

from nmt.orchestrator.credentials import without_credentials, without_user
from nmt.orchestrator.tracking import chain_live as live
from tests.orchestrator._tracked import PARAMS, Project


def test_credentials_are_not_stored(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "AWAY_SECONDS", 0.1)
    monkeypatch.setattr(utils, "MAX_RETRY_COUNT", 1)  # MLflow tries a database for 100 seconds
    secret = "s3cr3t/with/slashes"
    params = {**PARAMS, "data.path": "s3://key:s3cr3t@bucket/visits"}
    tracking = project.run(uri=f"postgresql://me:{secret}@nowhere/mlflow?sslpassword={secret}", params=params)
    assert not tracking.complete
    text = "".join(file.read_text() for file in (project.folder / "runs" / "chains").iterdir())
    assert "postgresql://***@nowhere/mlflow?sslpassword=***" in text
    assert "s3://***@bucket/visits" in text
    assert "s3cr3t" not in text + str(tracking.failure)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://host:8080/path@x", "http://host:8080/path@x"),
        ("https://token@host/x", "https://***@host/x"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("mysql+pymysql://me:a/b@host/d?ssl_ca=x", "mysql+pymysql://***@host/d?ssl_ca=x"),
        ("API request to http://u:p@host/api failed", "API request to http://***@host/api failed"),
    ],
)
def test_addresses_are_printed_without_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


def test_a_page_is_linked_without_credentials() -> None:
    assert without_user("https://me:pw@host:5000/x") == "https://host:5000/x"
