"""``nmt sweep``, ``nmt grid`` and ``nmt compare`` as a person uses them: many chains on Ray Tune, tracked in MLflow."""

from __future__ import annotations

import json
import math
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from ._commands import (
    NOWHERE,
    TASKS,
    Project,
    end,
    ended,
    environment,
    kill_group,
    project,
    ray_cluster,
    read,
    reused,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXAMPLES, EPOCHS = 1500, 2
STAGE = EXAMPLES * EPOCHS
"""Samples of a stage, in lists."""

NINE = {"eta_theta": [0.001, 0.003, 0.01], "eta_lambda": [1.0, 10.0, 100.0]}
TWO = {"eta_theta": [0.003], "eta_lambda": [1.0, 10.0]}


class Start(Protocol):
    """Makes a project."""

    def __call__(self, name: str, **sections: Any) -> Project: ...


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, ranking_folder: Path, database: Path) -> Iterator[Start]:
    # Paths of sockets are short: Ray's folder cannot be below just any folder.
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-sweep-", dir="/tmp"))
    made = []

    def make(name: str, **sections: Any) -> Project:
        folder = tmp_path_factory.mktemp(name)
        made.append(project(folder, ranking_folder, database, environment(ray_folder), **sections))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()
        shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that is there already."""
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-joined-", dir="/tmp"))
    try:
        with ray_cluster(environment(ray_folder)) as address:
            yield address
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


class TestSweep:
    """Three learning rates of the parameters and three of the multipliers, on a Ray of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, start: Start) -> tuple[Project, dict[str, Any], dict[str, Any]]:
        """The project, what was planned, and what came of it."""
        one = start("nine", sweep=NINE)
        planned = one.document("plan")["sweep"]
        return one, planned, one.document("sweep")

    def test_shared_stages_are_trained_once(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, document = swept
        assert (document["cost"]["stages"], document["cost"]["stages_reused"]) == (21, 6)
        assert len(one.stages) == 21
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len([run for run in one.runs("stage") if reused(run)]) == 6

    def test_costs_what_was_planned(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        _, planned, document = swept
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert planned["exact"]
        assert document["cost"]["samples"] == 21 * STAGE

    def test_mlflow_has_a_tree_whose_costs_add_up(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, document = swept
        (sweep,) = one.runs("sweep")
        chains, stages = one.runs("chain"), one.runs("stage")
        assert sweep.info.run_id == document["mlflow_run_id"]
        assert document["tracking_failure"] is None
        assert len(chains) == 9
        assert {chain.data.tags["mlflow.parentRunId"] for chain in chains} == {sweep.info.run_id}
        for name in ("cost/samples", "cost/stages", "cost/steps", "cost/worker_seconds"):
            total = sweep.data.metrics[name]
            assert total == pytest.approx(sum(chain.data.metrics[name] for chain in chains)), name
            if name in stages[0].data.metrics:
                trained = [stage.data.metrics[name] for stage in stages if not reused(stage)]
                assert total == pytest.approx(sum(trained)), name
        for chain in chains:
            own = [stage for stage in stages if stage.data.tags["mlflow.parentRunId"] == chain.info.run_id]
            assert [stage.data.tags["nmt.task"] for stage in own] == list(TASKS)
        assert {run.info.status for run in [sweep, *chains, *stages]} == {"FINISHED"}
        assert sweep.data.tags["nmt.winner"] == document["winner"]
        curve = one.client.get_metric_history(sweep.info.run_id, "cost/trials")
        assert sorted((point.step, point.value) for point in curve) == [(n, n) for n in range(1, 10)]

    def test_the_same_command_again_starts_no_ray(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, before = swept
        after = one.document("sweep", address=NOWHERE)
        assert (after["cost"]["stages"], after["cost"]["stages_reused"]) == (0, 27)
        assert after["winner"] == before["winner"]
        assert one.trained == dict.fromkeys(one.stages, 1)

    def test_tells_in_a_table(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, before = swept
        done = one.nmt("sweep", json=False, address=NOWHERE)
        assert done.returncode == 0, done.stderr
        for trial in before["trials"]:
            (row,) = (line for line in done.stdout.splitlines() if line.startswith(trial["label"] + " "))
            assert "0 + 3" in row
            assert row.rstrip().endswith("winner") == (trial["label"] == before["winner"])
            assert f"{trial['test']['pay']:.4f}" in row
        assert "9 trials, 0 stages trained, 27 reused" in done.stdout
        assert "nmt ui" in done.stdout
        assert "[9/9]" in done.stderr

    def test_another_value_needs_a_cluster(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        """The address that the two tests above go by does stand in the way."""
        one, _, _ = swept
        done = one.nmt("sweep", "--set", "sweep.eta_lambda=[2.0]", address=NOWHERE)
        assert done.returncode == 1
        assert NOWHERE in done.stderr


class TestFaults:
    """One sweep: a trial's process is killed, then the command, then the next command is interrupted."""

    @pytest.fixture(scope="class")
    @classmethod
    def disturbed(cls, start: Start) -> tuple[Project, dict[str, Any]]:
        one = start("faults", sweep=NINE, training={"checkpoint_every": 4, "max_epochs": 8})
        first = one.start("sweep")

        def killed_in_the_middle() -> bool:
            """At once: a moment later the stage may be finished."""
            for key, pid in one.in_training.items():
                if one.checkpoint(key) >= 8:
                    end(pid)
                    return True
            return False

        one.wait_for("a checkpoint", killed_in_the_middle)
        one.wait_for("a stage that goes on", lambda: "goes on from step" in first.said)
        one.wait_for("five stages", lambda: len(one.stages) >= 5)
        kill_group(first)
        assert first.family.end(90) == []

        kept = len(one.stages)
        second = one.start("sweep")
        one.wait_for("two more stages", lambda: len(one.stages) >= kept + 2)
        second.process.send_signal(signal.SIGINT)  # to the command alone: Ray's processes are to be ended by it
        at = time.monotonic()
        second.wait()
        assert time.monotonic() - at < 30
        assert second.family.end(90) == []
        assert second.process.returncode == 130, second.said
        assert "the same command goes on from them" in second.said
        assert "Traceback" not in second.said
        (sweep,) = one.runs("sweep")
        assert sweep.info.status == "KILLED"
        assert not [run for run in [*one.runs("chain"), *one.runs("stage")] if run.info.status == "RUNNING"]
        return one, one.document("sweep")

    def test_every_stage_is_trained_once(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, document = disturbed
        assert (document["cost"]["stages"], document["cost"]["stages_reused"]) == (21, 6)
        assert document["cost"]["samples"] == 4 * 21 * STAGE
        assert len(one.stages) == 21
        assert one.trained == dict.fromkeys(one.stages, 1)

    def test_mlflow_has_one_sweep_and_everything_once(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, document = disturbed
        (sweep,) = one.runs("sweep")
        assert sweep.info.run_id == document["mlflow_run_id"]
        assert sweep.info.status == "FINISHED"
        chains, stages = one.runs("chain"), one.runs("stage")
        assert (len(chains), len(stages)) == (9, 27)
        assert {run.info.status for run in [*chains, *stages]} == {"FINISHED"}
        for stage in stages:
            if not reused(stage):
                history = one.client.get_metric_history(stage.info.run_id, "train/loss/pay")
                assert [point.step for point in history] == list(range(1, int(stage.data.metrics["cost/steps"]) + 1))

    def test_no_checkpoint_is_left(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, _ = disturbed
        assert not list(one.storage.glob("checkpoints/*/*"))


class TestTwoCommands:
    """Side by side, on one storage and one cluster."""

    def test_nothing_is_trained_twice(self, start: Start, address: str) -> None:
        one = start("together", sweep=TWO, tune={"max_concurrent_trials": 1})
        commands = [one.start("sweep", address=address) for _ in range(2)]
        documents = [read(ended(command)) for command in commands]
        assert sum(document["cost"]["stages"] for document in documents) == 5
        assert sum(document["cost"]["stages_reused"] for document in documents) == 7
        assert one.trained == dict.fromkeys(one.stages, 1)
        first, second = one.runs("sweep")
        assert second.info.start_time < first.info.end_time  # they did run side by side
        assert documents[0]["winner"] == documents[1]["winner"]

    def test_trials_side_by_side_share_the_first_stage(self, start: Start, address: str) -> None:
        one = start("beside", sweep=TWO, tune={"max_concurrent_trials": 2})
        document = one.document("sweep", address=address)
        assert sorted(trial["cost"]["stages"] for trial in document["trials"]) == [2, 3]
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len(one.stages) == 5


class TestDivergence:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, start: Start) -> Project:
        return start("diverging", sweep={"eta_theta": [0.003, 1e30], "eta_lambda": [10.0]})

    def test_the_others_finish(self, one: Project, address: str) -> None:
        document = one.document("sweep", address=address)
        good, bad = document["trials"]
        assert (good["status"], bad["status"]) == ("finished", "diverged")
        assert "not finite" in bad["reason"] or "nan" in bad["reason"].lower(), bad["reason"]
        assert document["winner"] == good["label"]
        (sweep,) = one.runs("sweep")
        assert sweep.data.tags["nmt.trials_failed"] == "1"

    def test_nothing_but_divergence_is_a_failure(self, one: Project, address: str) -> None:
        done = one.nmt("sweep", "--set", "sweep.eta_theta=[1.0e+30]", address=address, json=False)
        assert done.returncode == 1
        assert "diverged" in done.stdout
        assert "1 of the 1 trials" in done.stderr
        assert "Traceback" not in done.stderr


class TestBrokenTrials:
    def test_a_trial_that_never_reported_tells_why(self, start: Start, address: str) -> None:
        one = start("broken", sweep=TWO, tune={"max_failures": 0}, model={"name": "broken:build"})
        source = 'def build(schema, tasks, **options):\n    raise RuntimeError("no dictionary here")\n'
        (one.folder / "broken.py").write_text(source)
        done = one.nmt("sweep", address=address)
        assert done.returncode == 1
        assert "2 of the 2 trials of the sweep failed" in done.stderr
        assert "no dictionary here" in done.stderr
        assert "Traceback" not in done.stderr


class TestStopped:
    """Trials that do not come to their end."""

    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, start: Start) -> Project:
        return start("stopped", sweep=TWO)

    def test_by_a_criterion(self, one: Project, address: str) -> None:
        done = one.nmt("sweep", "--set", "tune.stop={training_iteration: 1}", address=address)
        document = read(done)
        assert [trial["status"] for trial in document["trials"]] == ["stopped", "stopped"]
        assert [len(trial["stage_keys"]) for trial in document["trials"]] == [1, 1]
        assert document["winner"] is None
        assert document["cost"]["stages"] == 1
        (sweep,) = one.runs("sweep")
        assert sweep.info.status == "KILLED"

    def test_by_the_time_budget(self, one: Project) -> None:
        """On a Ray of its own, of which nothing is left."""
        done = one.nmt("sweep", "--set", "tune.time_budget_s=0.5", "--set", "training.max_epochs=4000", json=False)
        assert done.returncode == 0, done.stderr
        assert "2 trials were stopped; the same command goes on with them." in done.stdout
        assert "Traceback" not in done.stderr

    def test_the_rest_is_trained_later(self, one: Project, address: str) -> None:
        document = one.document("sweep", address=address)
        assert [trial["status"] for trial in document["trials"]] == ["finished", "finished"]
        assert one.trained == dict.fromkeys(document["trials"][0]["stage_keys"], 1) | dict.fromkeys(
            document["trials"][1]["stage_keys"], 1
        )
        finished = [run for run in one.runs("sweep") if run.info.status == "FINISHED"]
        assert [run.info.run_id for run in finished] == [document["mlflow_run_id"]]


class TestWorkersOfATrial:
    """Each trial starts a worker group of its own."""

    SET = ("--set", "tune.workers_per_trial=2", "--set", "scaling.hang_timeout_s=60")

    @pytest.fixture(scope="class")
    @classmethod
    def two(cls, start: Start) -> tuple[Project, dict[str, Any]]:
        one = start("workers", sweep=TWO)
        return one, one.document("sweep", *cls.SET)

    def test_finds_what_one_worker_finds(self, two: tuple[Project, dict[str, Any]], start: Start, address: str) -> None:
        many, together = two
        one = start("alone", sweep=TWO)
        alone = one.document("sweep", address=address)
        for one_alone, one_together in zip(alone["trials"], together["trials"], strict=True):
            assert one_alone["stage_keys"] == one_together["stage_keys"]
        assert together["cost"]["samples"] == alone["cost"]["samples"] == 5 * STAGE
        assert together["winner"] == alone["winner"]
        expected = one.losses("valid")
        for key, losses in many.losses("valid").items():
            assert losses == pytest.approx(expected[key], rel=1e-4)

    def test_a_time_budget_ends_them_too(self, two: tuple[Project, dict[str, Any]]) -> None:
        many, _ = two
        at = time.monotonic()
        done = many.nmt("sweep", *self.SET, "--set", "tune.time_budget_s=25", "--set", "training.max_epochs=4000")
        document = read(done)
        assert [trial["status"] for trial in document["trials"]] == ["stopped", "stopped"]
        assert time.monotonic() - at < 120

    def test_more_than_there_is_room_for_are_refused(self, start: Start) -> None:
        done = start("many", sweep=TWO).nmt("sweep", "--set", "tune.workers_per_trial=64")
        assert done.returncode == 2
        assert "64" in done.stderr
        assert "CPU" in done.stderr
        assert "tune.workers_per_trial" in done.stderr


class TestGreedy:
    def test_settles_one_stage_after_the_other(self, start: Start, address: str) -> None:
        rates = {"eta_theta": [0.003, 0.01], "eta_lambda": [1.0, 100.0]}
        one = start("greedy", sweep=rates)
        planned = one.document("plan", "--set", "sweep.greedy=true")["sweep"]
        document = one.document("sweep", "--greedy", address=address)
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert (planned["trials"], planned["stages"]) == (2 + 4 + 4, 10)
        (winner,) = (trial for trial in document["trials"] if trial["label"] == document["winner"])
        last = document["trials"][6:]
        assert winner in last
        # Every trial of a stage begins with the very stages of the best one before it.
        assert {tuple(trial["stage_keys"][:2]) for trial in last} == {tuple(winner["stage_keys"][:2])}
        assert {tuple(trial["stage_keys"][:1]) for trial in document["trials"][2:6]} == {
            tuple(winner["stage_keys"][:1])
        }
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len(one.stages) == 10


class TestGrid:
    """Two weights for each of three tasks, equal weights, and a model of its own for each task."""

    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, start: Start) -> Project:
        return start("grid", sweep=TWO, grid={"points": 2})

    @pytest.fixture(scope="class")
    @classmethod
    def limited(cls, one: Project, address: str) -> tuple[dict[str, Any], dict[str, Any]]:
        planned = one.document("plan", "--set", "grid.limit=3")["grid"]
        return planned, one.document("grid", "--limit", "3", address=address)

    def test_some_of_it_is_extrapolated(self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]]) -> None:
        planned, document = limited
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert document["cost"]["trials"] == 3 + 4
        assert document["extrapolated"] == {"trials": 8, "samples": 8 * STAGE, "trained": 3}
        (grid,) = one.runs("grid")
        assert grid.data.tags["nmt.extrapolated"] == "true"
        assert grid.data.tags["nmt.extrapolated_samples"] == str(8 * STAGE)
        assert grid.info.run_name == "grid 3 of 8"
        table = one.nmt("grid", "--limit", "3", json=False, address=NOWHERE).stdout
        assert "extrapolated from 3 of them" in " ".join(table.split())
        assert f"{8 * STAGE:,}" in table

    def test_the_whole(self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]], address: str) -> None:
        before, _ = limited
        planned = one.document("plan")["grid"]
        document = one.document("grid", address=address)
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert document["cost"]["trials"] == 8 + 4
        assert document["cost"]["stages"] + before["stages"] == 8 + 3  # equal weights are one of the eight
        assert document["extrapolated"] is None
        assert one.trained == dict.fromkeys(one.stages, 1)
        (equal,) = (trial for trial in document["trials"] if trial["label"] == "equal weights")
        assert equal["cost"]["stages"] == 0
        assert sum(trial["stage_keys"] == equal["stage_keys"] for trial in document["trials"]) == 2

    def test_beside_a_sweep_and_another_method(
        self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]], address: str
    ) -> None:
        done = one.nmt("compare", "--limit", "3", "--methods", "famo", json=False, address=address)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        (page,) = (line.removeprefix("page: ") for line in done.stdout.splitlines() if line.startswith("page: "))
        assert Path(page).is_file()
        assert list((Path(page).parent / "figures").iterdir())
        (comparison,) = one.runs("comparison")
        artifacts = {artifact.path for artifact in one.client.list_artifacts(comparison.info.run_id)}
        assert {"comparison.html", "comparison_table.json", "figures"} <= artifacts
        (table,) = json.loads(comparison.data.tags["mlflow.loggedArtifacts"])  # what the page of runs shows as a table
        assert table == {"path": "comparison_table.json", "type": "table"}
        assert "famo" in done.stdout
        assert comparison.info.run_id in done.stdout
        assert math.isfinite(comparison.data.metrics["cost/samples"])
