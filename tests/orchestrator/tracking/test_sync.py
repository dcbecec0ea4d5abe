"""``nmt sync``: records that the tracking store lacks are logged from the storage, each once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.tracking import backlog, store
from nmt.orchestrator.tracking import chain_live as live
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.orchestrator.verbs.sync import sync_storage
from nmt.trainers.spec.execution import Execution
from tests.orchestrator._commands import in_this_process, read
from tests.orchestrator._tracked import NAME, PARAMS, SPEC, Project, in_folder, records, unreliable, use
from tests.orchestrator.conftest import Command


def manifests(project: Project) -> list[ChainManifest]:
    kept = ManifestStore(project.storage)
    return sorted((kept.read(name) for name in kept.names()), key=lambda manifest: manifest.started)


def run_while_away(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setattr(live, "AWAY_SECONDS", 0.1)
        use(away, unreliable(lambda _: "before"))
        assert not project.run().complete
    assert project.runs() == []


def interrupt(project: Project, finished: int, trained: int) -> None:
    """Leave the storage of a driver that was killed while the tracking store was away."""
    kept = ManifestStore(project.storage)
    manifest, lease = kept.begin(NAME, project.uri, PARAMS, SPEC)
    chain = records()
    project.keep(*chain[:finished])
    kept.write(replace(manifest, trained={record.key: manifest.started for record in chain[:trained]}))
    assert lease is not None
    lease.release()


def test_an_untracked_chain_is_logged_as_a_tracked_one(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_while_away(project, monkeypatch)
    client = use(monkeypatch, unreliable(lambda _: ""))
    synced = sync_storage(None, storage=project.storage)
    (chain,) = synced.chains
    assert synced.complete
    assert (chain.status, chain.ended, chain.runs) == ("logged", "FINISHED", 5)
    assert chain.points == sum(len(run["points"]) for run in undisturbed)
    assert project.content() == undisturbed
    assert set(client.logged.values()) == {1}
    wall = MlflowClient(project.uri).get_run(chain.run_id).data.metrics["cost/wall_seconds"]
    assert wall == manifests(project)[0].wall_seconds > 0


def test_a_second_time_nothing_is_logged(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_while_away(project, monkeypatch)
    assert sync_storage(None, storage=project.storage).complete
    client = use(monkeypatch, unreliable(lambda _: ""))
    assert sync_storage(None, storage=project.storage).chains == ()
    # Nor where the manifest could not be marked as logged.
    (manifest,) = manifests(project)
    ManifestStore(project.storage).write(replace(manifest, logged=False))
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert (chain.status, chain.runs, chain.points) == ("logged", 5, 0)
    assert not client.logged
    assert not client.created
    assert project.content() == undisturbed


@pytest.mark.parametrize("requests", [1, 5, 12, 20, 30])
def test_an_interrupted_sync_is_completed_by_the_next(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    run_while_away(project, monkeypatch)
    done: list[str] = []

    def only_some(request: str) -> Any:
        done.append(request)
        return "" if len(done) < requests else "after" if len(done) == requests else "before"

    client = use(monkeypatch, unreliable(only_some))
    synced = sync_storage(None, storage=project.storage)
    assert [chain.status for chain in synced.chains] == ["away"]
    requests = 10**9
    assert sync_storage(None, storage=project.storage).complete
    assert set(client.logged.values()) == {1}
    assert set(client.created.values()) == {1}
    assert project.content() == undisturbed


def test_the_next_run_logs_the_backlog_of_earlier_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_while_away(project, monkeypatch)
    tracking = project.run()
    assert tracking.complete
    assert tracking.waiting == 0
    assert [manifest.logged for manifest in manifests(project)] == [True, True]
    chains = [run for run in project.runs() if run.data.tags["nmt.kind"] == "chain"]
    assert sorted(run.data.metrics["cost/stages"] for run in chains) == [0, 4]


def test_a_reused_stage_is_linked_to_the_run_that_trained_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_while_away(project, monkeypatch)
    run_while_away(project, monkeypatch)
    assert [chain.status for chain in sync_storage(None, storage=project.storage).chains] == ["logged", "logged"]
    stages = [run for run in project.runs() if run.data.tags["nmt.kind"] == "stage"]
    trained = {run.info.run_id for run in stages if "nmt.reused_from" not in run.data.tags}
    assert {run.data.tags["nmt.reused_from"] for run in stages if "nmt.reused_from" in run.data.tags} == trained


def test_the_finished_stages_of_an_interrupted_chain_are_logged(
    project: Project, undisturbed: list[dict[str, Any]]
) -> None:
    interrupt(project, finished=3, trained=4)
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert (chain.status, chain.ended, chain.runs) == ("logged", "KILLED", 4)
    content = project.content()
    assert content[0]["status"] == "KILLED"
    assert content[1:] == undisturbed[1:4]
    # The same command resumes in that run.
    resumed = project.run()
    assert resumed.run_id == chain.run_id
    assert project.content() == undisturbed


def test_stages_trained_before_the_interruption_count_as_trained(
    project: Project, undisturbed: list[dict[str, Any]]
) -> None:
    interrupt(project, finished=3, trained=4)
    assert project.run().complete
    assert project.content() == undisturbed


def test_a_driver_that_was_killed_after_the_last_stage_leaves_a_finished_chain(
    project: Project, undisturbed: list[dict[str, Any]]
) -> None:
    interrupt(project, finished=4, trained=4)
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert chain.ended == "FINISHED"
    assert project.content() == undisturbed


def test_a_finished_chain_whose_stages_are_missing_is_reported(project: Project) -> None:
    interrupt(project, finished=2, trained=4)
    (manifest,) = manifests(project)
    ManifestStore(project.storage).write(replace(manifest, status="FINISHED"))
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert chain.status == "failed"
    assert "is missing from the storage; run the experiment again" in chain.detail


def test_a_running_chain_is_left_alone(project: Project) -> None:
    tracking = project.track()
    synced = sync_storage(None, storage=project.storage)
    (chain,) = synced.chains
    assert chain.status == "running"
    assert f"process {manifests(project)[0].pid} on" in chain.detail
    assert synced.complete
    tracking.close("KILLED")
    assert sync_storage(None, storage=project.storage).chains == ()


def test_a_driver_on_another_machine_counts_as_running_until_it_is_silent(project: Project) -> None:
    interrupt(project, finished=1, trained=1)
    (manifest,) = manifests(project)
    elsewhere = replace(manifest, host="elsewhere", pid=1)
    ManifestStore(project.storage).write(elsewhere)
    assert [chain.status for chain in sync_storage(None, storage=project.storage).chains] == ["running"]
    ManifestStore(project.storage).write(replace(elsewhere, seen=manifest.seen - 1000))
    assert [chain.status for chain in sync_storage(None, storage=project.storage).chains] == ["logged"]


def test_a_store_that_is_away_is_tried_a_few_times_for_all_chains_together(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_while_away(project, monkeypatch)
    run_while_away(project, monkeypatch)
    client = use(monkeypatch, unreliable(lambda _: "before"))
    synced = sync_storage(None, storage=project.storage)
    assert [chain.status for chain in synced.chains] == ["away", "away"]
    assert "the connection broke" in synced.chains[1].detail
    assert client.asked["get_experiment_by_name"] == backlog.ATTEMPTS
    assert not synced.complete


def test_another_tracking_store_can_be_named(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, database: Path, tmp_path: Path
) -> None:
    run_while_away(project, monkeypatch)
    (tmp_path / "other").mkdir()
    other = in_folder(tmp_path / "other", database)
    assert sync_storage(None, storage=project.storage, tracking=other.uri).complete
    assert other.content() == undisturbed
    assert manifests(project)[0].tracking == other.uri
    assert project.runs() == []


def test_an_empty_store_is_written_from_the_records(
    project: Project, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, database: Path, tmp_path: Path
) -> None:
    """The records in the storage are enough, although another store has them all."""
    project.run()
    assert manifests(project)[0].logged
    (tmp_path / "other").mkdir()
    other = in_folder(tmp_path / "other", database)
    assert sync_storage(None, storage=project.storage, tracking=other.uri).complete
    assert other.content() == undisturbed
    assert sync_storage(None, storage=project.storage, tracking=other.uri).chains == ()
    assert project.content() == undisturbed


def test_credentials_are_taken_from_the_experiment_file(project: Project, experiment_file: Path) -> None:
    interrupt(project, finished=1, trained=1)
    (manifest,) = manifests(project)
    ManifestStore(project.storage).write(replace(manifest, tracking="http://***@127.0.0.1:9"))
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert chain.status == "failed"
    assert "name the experiment file that has them" in chain.detail
    content = yaml.safe_load(experiment_file.read_text())
    experiment_file.write_text(yaml.safe_dump({**content, "tracking": "http://me:s3cr3t@127.0.0.1:9"}))
    (chain,) = sync_storage(str(experiment_file), storage=project.storage).chains
    assert (chain.status, chain.tracking, chain.detail) == ("away", "http://***@127.0.0.1:9", "Connection refused")


def test_a_refusal_is_reported(project: Project) -> None:
    interrupt(project, finished=1, trained=1)
    client = MlflowClient(project.uri)
    client.delete_experiment(client.create_experiment(NAME))
    (chain,) = sync_storage(None, storage=project.storage).chains
    assert chain.status == "failed"
    assert "was deleted; restore it" in chain.detail


def test_a_damaged_manifest_is_reported_and_stops_no_other(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_while_away(project, monkeypatch)
    (Path(project.storage) / "chains" / "0123.4567.json").write_text('{"version": 1, "run_uuid": "45')
    synced = sync_storage(None, storage=project.storage)
    assert [chain.status for chain in synced.chains] == ["unreadable", "logged"]
    assert "0123.4567.json" in synced.chains[0].detail
    assert not synced.complete


def test_a_manifest_reads_as_it_was_written(project: Project) -> None:
    spec = replace(
        SPEC,
        levels=(SPEC.tasks,),
        training=replace(SPEC.training, method="weighted_sum", weights=(1.0, 2.0, 3.0, 4.0), clip_norm=0.5),
        execution=Execution(record_every=7, evaluations_per_epoch=2),
        rounds=2,
    )
    manifest, _ = ManifestStore(project.storage).begin(NAME, project.uri, PARAMS, spec)
    assert ChainManifest.from_json(manifest.to_json()) == replace(
        manifest, spec=replace(spec, model=replace(spec.model, options={"units": [4]}))
    )


def test_a_manifest_of_another_version_or_with_an_unknown_field_is_refused(project: Project) -> None:
    manifest, _ = ManifestStore(project.storage).begin(NAME, project.uri, PARAMS, SPEC)
    content = json.loads(manifest.to_json())
    with pytest.raises(ValueError, match="found a manifest of version 2, and this program reads version 1"):
        ChainManifest.from_json(json.dumps({**content, "version": 2}))
    content["spec"]["training"]["invented"] = 1
    with pytest.raises(ValueError, match=r"not a chain's manifest .*invented"):
        ChainManifest.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"file": None, "storage": "/nowhere"}, "there is no storage /nowhere"),
        ({"file": None, "storage": "ftp://nowhere"}, "'ftp://nowhere' is neither an absolute path nor a URI"),
        ({"file": None, "overrides": ["name=x"]}, "--set overrides keys of an experiment file, and none is given"),
        ({"file": None, "tracking": "mlruns"}, "--tracking 'mlruns' is not a URI"),
        ({"file": "nowhere.yaml"}, "no such experiment file: nowhere.yaml"),
    ],
)
def test_a_wrong_request_is_refused(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        sync_storage(**request_)


@pytest.mark.slow
def test_the_command(project: Project, nmt: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(project, finished=4, trained=4)
    done = in_this_process(["sync", "--storage", "nowhere"], project.folder)
    assert done.returncode == 2
    assert "there is no storage" in done.stderr
    away = ["sync", "--storage", project.storage, "--tracking", "http://127.0.0.1:9", "--json"]
    done = in_this_process(away, project.folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["chains"][0]["status"] == "away"
    done = nmt("sync", "--storage", project.storage)
    assert done.returncode == 0, done.stderr
    assert "logged (finished)" in done.stdout
    assert "Traceback" not in done.stderr
    document = read(in_this_process(["sync", "--storage", project.storage, "--json"], project.folder))
    assert document == {"storage": project.storage, "complete": True, "points": 0, "chains": []}
    assert len(project.runs()) == 1 + len(SPEC.stages)
    assert store.RUN_UUID in project.runs()[0].data.tags


@pytest.mark.drill
@pytest.mark.ray
@pytest.mark.slow
def test_a_run_without_a_tracking_store_finishes(
    nmt: Command, experiment_file: Path, tmp_path: Path, database: Path
) -> None:
    shutil.copy(database, tmp_path / "later.db")
    settings = ("--set", "training.max_epochs=1", "--set", "tracking=http://127.0.0.1:9")
    done = nmt("run", str(experiment_file), "--json", *settings)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["tracking_complete"] is False
    command = f"nmt sync {experiment_file} {' '.join(settings)}"
    assert document["tracking_failure"].startswith("http://127.0.0.1:9: Connection refused; nothing is lost")
    assert document["tracking_failure"].endswith(command)
    assert command in done.stderr
    assert "Traceback" not in done.stderr
    later = ("--tracking", f"sqlite:///{tmp_path}/later.db")
    synced = read(in_this_process(["sync", str(experiment_file), *settings, *later, "--json"], tmp_path))
    (chain,) = synced["chains"]
    run = MlflowClient(f"sqlite:///{tmp_path}/later.db").get_run(chain["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["cost/samples"] == document["cost"]["samples"]
