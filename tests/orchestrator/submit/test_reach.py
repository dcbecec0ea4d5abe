"""Paths and addresses that a cluster could never reach are refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.submit.reach import check_reach

from ._files import experiment

SHARED = {"storage": "/shared/runs", "data": {"path": "/shared/data"}}


def refusal(content: dict[str, Any], is_here: bool = False) -> str:
    given = {"tracking": "http://mlflow:5000", **SHARED, **content}
    with pytest.raises(RequestError) as error:
        check_reach(experiment(**given), given, is_here)
    return str(error.value)


def test_absolute_paths_and_servers_pass() -> None:
    for tracking in ("http://mlflow:5000", "https://mlflow.example.com", "postgresql://db/mlflow"):
        check_reach(experiment(tracking=tracking, **SHARED), SHARED, is_here=False)
    cloud = {"storage": "s3://bucket/runs", "data": {"path": "s3://bucket/data"}, "tracking": "http://10.0.0.3:5000"}
    check_reach(experiment(**cloud), cloud, is_here=False)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"storage": "./runs"}, "storage: ./runs is relative"),
        ({"storage": "runs"}, "storage: runs is relative"),
        ({"data": {"path": "data/x"}}, "data.path: data/x is relative"),
        ({"data": {"path": "/shared", "cache": "cache"}}, "data.cache: cache is relative"),
        ({"tracking": "sqlite:////home/me/mlflow.db"}, "is a file on this machine"),
        (
            {"tracking": "http://localhost:5000"},
            "on the cluster http://localhost:5000 is not this machine but the node itself",
        ),
        (
            {"tracking": "http://127.0.0.1:5000"},
            "on the cluster http://127.0.0.1:5000 is not this machine but the node itself",
        ),
    ],
)
def test_places_on_this_machine_are_refused_for_other_clusters_only(content: dict[str, Any], key: str) -> None:
    assert key in refusal(content)
    given = {"tracking": "http://mlflow:5000", **SHARED, **content}
    check_reach(experiment(**given), given, is_here=True)


def test_the_default_storage_is_a_folder_of_this_machine() -> None:
    given = {"data": {"path": "/shared/data"}, "tracking": "http://mlflow:5000"}
    with pytest.raises(RequestError, match=r"storage: \./nmt-runs is relative"):
        check_reach(experiment(**given), given, is_here=False)


def test_sqlite_is_refused_with_what_to_do() -> None:
    message = refusal({"tracking": "sqlite:////home/me/mlflow.db"})
    assert "--set tracking=http://HOST:5000" in message


@pytest.mark.parametrize("is_here", [True, False])
def test_credentials_are_refused_everywhere_and_not_repeated(is_here: bool) -> None:
    message = refusal(
        {"tracking": "postgresql://me:hunter22@db/mlflow", "storage": "s3://key:hunter33@bucket/runs"}, is_here
    )
    assert "tracking: postgresql://***@db/mlflow holds a credential" in message
    assert "PGPASSWORD" in message
    assert "AWS_SECRET_ACCESS_KEY" in message
    assert "hunter" not in message


@pytest.mark.parametrize("is_here", [True, False])
def test_a_source_that_would_prepare_its_data_at_a_uri_is_refused(is_here: bool) -> None:
    data = {"source": "experiments.data.complete_journey", "cache": "s3://bucket/runs/data"}
    message = refusal({"storage": "s3://bucket/runs", "data": data}, is_here)
    assert "data.cache is s3://bucket/runs/data" in message
    shared = {
        "storage": "s3://bucket/runs",
        "data": {**data, "cache": "/shared/cache"},
        "tracking": "http://mlflow:5000",
    }
    check_reach(experiment(**shared), shared, is_here)
