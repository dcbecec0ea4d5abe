"""Tracking: every record is logged once, whatever the tracking store does, and no failure stops the run."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.tracking import chain_live as live
from nmt.orchestrator.tracking.chain_live import LiveTracking
from nmt.orchestrator.tracking.manifests import keeper
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.trainers.reporter import Progress, StageFinished
from tests.orchestrator._server import Server, free_port
from tests.orchestrator._tracked import NAME, Project, by_chance, events, in_folder, records, unreliable, use


def wait_until(tracking: LiveTracking, holds: Callable[[], bool]) -> None:
    with tracking._writer._changed:
        assert tracking._writer._changed.wait_for(holds, 120)


def manifest_of(project: Project) -> Any:
    manifests = ManifestStore(project.storage)
    (name,) = manifests.names()
    return manifests.read(name)


def test_an_undisturbed_chain(undisturbed: list[dict[str, Any]]) -> None:
    assert [run["name"].partition(" ")[0] for run in undisturbed] == ["chain", *["stage"] * 4]
    assert [run["name"] for run in undisturbed[1:3]] == ["stage 0: joint", "stage 1: pay"]
    assert [(run["tags"]["nmt.stage"], run["tags"]["nmt.task"]) for run in undisturbed[1:3]] == [
        ("0", "joint"),
        ("1", "pay"),
    ]
    assert {run["status"] for run in undisturbed} == {"FINISHED"}
    for run, record in zip(undisturbed[1:], records(), strict=True):
        places = [(name, step) for name, step, _ in run["points"]]
        assert len(places) == len(set(places))
        steps = [step for name, step in places if name == f"train/loss/{min(record.objective)}"]
        assert sorted(steps) == [row.step for row in record.rows]


def test_an_undisturbed_chain_reads_no_history(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, unreliable(lambda _: ""))
    assert project.run().complete
    assert client.asked["get_metric_history"] == 0
    assert client.asked["create_run"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_requests_that_fail_leave_every_record_once(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(live, "AWAY_SECONDS", 60.0)
    client = use(monkeypatch, unreliable(by_chance(seed, share=0.2)))
    tracking = project.run()
    assert tracking.complete, tracking.failure
    assert set(client.logged.values()) == {1}
    assert set(client.created.values()) == {1}
    assert project.content() == undisturbed


def test_a_run_created_long_after_its_request_failed_is_deleted(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[Any, ...]] = []

    class Late(unreliable(lambda _: "")):  # type: ignore[misc]
        """Carries out the first request to create a run long after it failed."""

        def create_run(self, *args: Any, **kwargs: Any) -> Any:
            if not late:
                late.append((args, kwargs))
                raise TimeoutError("no answer")
            return super().create_run(*args, **kwargs)

        def log_figure(self, *args: Any, **kwargs: Any) -> None:
            if len(late) == 1:
                args_then, kwargs_then = late[0]
                late.append(())
                super().create_run(*args_then, **kwargs_then)
            super().log_figure(*args, **kwargs)

    use(monkeypatch, Late)
    assert project.run().complete
    assert len(late) == 2
    assert project.content() == undisturbed


def test_numbers_that_are_not_finite_are_not_logged(project: Project) -> None:
    first = records()[0]
    row = replace(first.rows[4], losses={"pay": math.inf})
    candidate = replace(first.candidates[2], losses={"pay": math.nan}, metrics={"pay": -math.inf})
    broken = replace(
        first, rows=(*first.rows[:4], row), candidates=(first.candidates[0], candidate), multipliers={"pay": math.nan}
    )
    tracking = project.track()
    project.train(tracking, [broken])
    tracking.close("FAILED")
    assert tracking.complete
    values = [value for run in project.content() for _, _, value in run["points"]]
    assert values
    assert all(value is None or math.isfinite(value) for value in values)


def test_a_lost_worker_neither_loses_nor_doubles_a_record(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = use(monkeypatch, unreliable(lambda _: ""))
    tracking = project.track()
    joint, first, second, third = records()
    project.train(tracking, [joint, first])
    for event in events(second, upto=10):
        tracking.write(event)
    # A new group of workers finds stages 0 and 1, resumes stage 2 from a checkpoint and sends all its events again.
    for record in (joint, first):
        tracking.write(StageFinished(record, reused=True))
    project.train(tracking, [second])
    for event in events(third):
        tracking.write(event)
    project.keep(third)  # the worker was lost after it wrote the record, before it sent the event
    tracking.write(StageFinished(third, reused=True))
    tracking.close("FINISHED")
    assert set(client.logged.values()) == {1}
    assert client.asked["get_metric_history"] == 0
    assert project.content() == undisturbed


def test_lost_events_are_filled_in_from_the_records(project: Project, undisturbed: list[dict[str, Any]]) -> None:
    tracking = project.track()
    joint, first, second, third = records()
    project.train(tracking, [joint])
    for number, event in enumerate(events(first)):
        if number not in (0, 3, 4):  # the start, some rows and a candidate
            tracking.write(event)
    project.keep(first)
    tracking.write(StageFinished(first, reused=False))
    project.train(tracking, [second])
    for event in events(third):
        tracking.write(event)
    project.keep(third)  # and the end of the last stage is not reported
    tracking.close("FINISHED")
    assert tracking.complete, tracking.failure
    assert project.content() == undisturbed


def test_queued_rows_are_bounded(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_ROWS", 12)
    back, away = threading.Event(), threading.Event()

    class Away(unreliable(lambda _: "")):  # type: ignore[misc]
        def search_runs(self, *args: Any, **kwargs: Any) -> Any:
            away.set()
            assert back.wait(60)
            return super().search_runs(*args, **kwargs)

    use(monkeypatch, Away)
    tracking = project.track()
    assert away.wait(60)  # the tracking store hangs, and no writer waits for it
    for record in records():
        project.train(tracking, [record])
    arrived = [getattr(item, "event", None) for item in tracking._writer._waiting]
    waiting = sum(len(event.rows) for event in arrived if isinstance(event, Progress))
    assert 0 < waiting <= 12
    back.set()
    tracking.close("FINISHED")
    assert tracking.complete, tracking.failure
    assert project.content() == undisturbed


def test_a_refusal_is_not_retried(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(project.uri)
    client.delete_experiment(client.create_experiment(NAME))
    asked = use(monkeypatch, unreliable(lambda _: "")).asked
    tracking = project.run()
    assert not tracking.complete
    assert tracking.run_id is None
    assert tracking.failure is not None
    assert "was deleted; restore it" in tracking.failure
    assert asked["get_experiment_by_name"] == 1
    assert not manifest_of(project).logged


def test_a_tracking_store_that_is_away_is_reported(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "AWAY_SECONDS", 0.1)
    use(monkeypatch, unreliable(lambda _: "before"))
    tracking = project.run(uri=f"http://somebody:s3cr3t@127.0.0.1:{free_port()}")
    assert not tracking.complete
    assert tracking.failure is not None
    assert tracking.failure.startswith("http://***@127.0.0.1:")
    assert "the connection broke" in tracking.failure
    manifest = manifest_of(project)
    assert (manifest.status, manifest.logged) == ("FINISHED", False)
    assert manifest.stage_keys == tuple(record.key for record in records())
    assert set(manifest.trained) == set(manifest.stage_keys)


def test_a_manifest_that_cannot_be_written_stops_no_run(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: ManifestStore, manifest: ChainManifest) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(ManifestStore, "write", write)
    tracking = project.run()
    assert tracking.complete
    assert tracking.manifest_failure == "no space left"
    assert project.content() == undisturbed


def test_a_driver_writes_heartbeats(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 0.01)
    tracking = project.track()
    first = manifest_of(project)
    while (later := manifest_of(project)).seen == first.seen:
        pass
    assert later.wall_seconds > first.wall_seconds
    assert (later.host, later.pid) == (socket.gethostname(), os.getpid())
    tracking.close("KILLED")


@pytest.mark.slow
def test_a_restarted_server_has_every_record_once(
    tmp_path: Path, database: Path, undisturbed: list[dict[str, Any]], servers: list[Server]
) -> None:
    project = in_folder(tmp_path, database)
    port = free_port()
    servers.append(Server(tmp_path, port))
    project.uri = servers[0].uri
    tracking = project.track()
    joint, first, second, third = records()
    project.train(tracking, [joint, first])
    for event in events(second, upto=10):
        tracking.write(event)
    wait_until(tracking, lambda: not tracking._writer.waiting)
    assert tracking.failure is None
    servers[0].stop()
    for event in list(events(second))[6:]:
        tracking.write(event)
    wait_until(tracking, lambda: tracking.is_away)
    project.keep(second)
    tracking.write(StageFinished(second, reused=False))
    servers.append(Server(tmp_path, port))
    project.train(tracking, [third])
    tracking.close("FINISHED")
    assert tracking.complete, tracking.failure
    assert project.content() == undisturbed
    assert tracking.link == f"{project.uri}/#/experiments/1/runs/{tracking.run_id}?workflowType=machine_learning"
