"""Tracking of a chain whose command is repeated: which runs it resumes, and which it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.trainers.store.stage_store import StageStore, StoredReferences
from tests.orchestrator._tracked import PARAMS, Project, events, records

ROOT = Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from tests.orchestrator._tracked import Project, events, records
project = Project(__import__("pathlib").Path(sys.argv[1]), sys.argv[2])
tracking = project.track()
joint, first, second, _ = records()
project.train(tracking, [joint, first])
for event in events(second, upto=10):
    tracking.write(event)
project.keep(second) if sys.argv[3] == "stored" else None
with tracking._writer._changed:
    tracking._writer._changed.wait_for(lambda: not tracking._writer.waiting)
while second.key not in ManifestStore(project.storage).read(ManifestStore(project.storage).names()[0]).trained:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_finished_chain_runs_again_as_a_new_run_of_reused_stages(project: Project) -> None:
    first = project.run()
    second = project.run()
    assert first.run_id != second.run_id
    runs = project.runs()
    stages = [run for run in runs if run.data.tags["nmt.kind"] == "stage"]
    trained = {
        run.data.tags["nmt.stage_key"]: run.info.run_id for run in stages if "nmt.reused_from" not in run.data.tags
    }
    again = {
        run.data.tags["nmt.stage_key"]: run.data.tags["nmt.reused_from"]
        for run in stages
        if "nmt.reused_from" in run.data.tags
    }
    assert len(trained) == 4
    assert again == trained
    assert MlflowClient(project.uri).get_run(second.run_id).data.metrics["cost/stages_reused"] == 4


def test_an_interrupted_chain_resumes_its_run(project: Project, undisturbed: list[dict[str, Any]]) -> None:
    interrupted = project.track()
    joint, first, second, _ = records()
    project.train(interrupted, [joint, first])
    for event in events(second, upto=10):
        interrupted.write(event)
    interrupted.close("KILLED")
    assert interrupted.complete
    assert [run["status"] for run in project.content()] == ["KILLED", "FINISHED", "FINISHED", "KILLED"]
    resumed = project.run()
    assert resumed.run_id == interrupted.run_id
    assert project.content() == undisturbed


def test_a_stage_whose_events_were_lost_counts_as_trained(project: Project, undisturbed: list[dict[str, Any]]) -> None:
    """The driver ends, or is killed, before it receives the events of the second stage."""
    interrupted = project.track()
    joint, first, second, _ = records()
    project.train(interrupted, [joint, first])
    StageStore(project.storage, interrupted.run_uuid).write(second, {}, StoredReferences({}, {}))
    interrupted.close("KILLED")
    resumed = project.run()
    assert resumed.run_id == interrupted.run_id
    assert project.content() == undisturbed


def test_an_experiment_with_other_params_does_not_resume_the_run(project: Project) -> None:
    interrupted = project.track()
    project.train(interrupted, records()[:1])
    interrupted.close("FAILED")
    other = project.run(params={**PARAMS, "scaling.workers": "2"})
    assert other.complete, other.failure
    assert other.run_id != interrupted.run_id
    assert MlflowClient(project.uri).get_run(other.run_id).data.metrics["cost/stages_reused"] == 1


def test_two_drivers_of_the_same_chain_have_one_run_each(project: Project) -> None:
    one, two = project.track(), project.track()
    for tracking in (one, two):
        tracking.close("KILLED")
    assert one.complete
    assert two.complete
    assert one.run_id != two.run_id


@pytest.mark.slow
@pytest.mark.parametrize("second_stage", ["stored", "lost"])
def test_after_a_killed_driver_the_same_command_resumes_its_run(
    project: Project, undisturbed: list[dict[str, Any]], second_stage: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(project.folder), project.uri, second_stage]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (chain,) = [run for run in project.runs() if run.data.tags["nmt.kind"] == "chain"]
    assert chain.info.status == "RUNNING"
    resumed = project.run()
    assert resumed.complete, resumed.failure
    assert resumed.run_id == chain.info.run_id
    assert project.content() == undisturbed
