"""Sweeps on a running Ray cluster: what their trials share, and how they end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.orchestrator._commands import STAGE, Project, Start, ended, read

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TWO = {"eta_theta": [0.003], "eta_lambda": [1.0, 10.0]}


@pytest.fixture(scope="module")
def beside(start: Start, address: str) -> tuple[Project, dict[str, Any]]:
    """A sweep whose two trials run at the same time."""
    one = start("beside", sweep=TWO, tune={"max_concurrent_trials": 2})
    return one, one.document("sweep", address=address)


@pytest.mark.drill
class TestTwoCommands:
    """Two commands at the same time, on one storage and one cluster."""

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

    def test_concurrent_trials_share_the_first_stage(self, beside: tuple[Project, dict[str, Any]]) -> None:
        one, document = beside
        assert sorted(trial["cost"]["stages"] for trial in document["trials"]) == [2, 3]
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len(one.stages) == 5


class TestDivergence:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, start: Start) -> Project:
        return start("diverging", sweep={"eta_theta": [0.003, 1e30], "eta_lambda": [10.0]})

    def test_the_other_trials_finish(self, one: Project, address: str) -> None:
        document = one.document("sweep", address=address)
        good, bad = document["trials"]
        assert (good["status"], bad["status"]) == ("finished", "diverged")
        assert "not finite" in bad["reason"] or "nan" in bad["reason"].lower(), bad["reason"]
        assert document["winner"] == good["label"]
        (sweep,) = one.runs("sweep")
        assert sweep.data.tags["nmt.trials_failed"] == "1"

    @pytest.mark.drill
    def test_a_group_that_only_diverges_fails(self, one: Project, address: str) -> None:
        done = one.nmt("sweep", "--set", "sweep.eta_theta=[1.0e+30]", address=address, json=False)
        assert done.returncode == 1
        assert "diverged" in done.stdout
        assert "1 of the 1 trials" in done.stderr
        assert "Traceback" not in done.stderr


BROKEN = """
import ray
from nmt.trainers.models.shared_bottom import SharedBottom

def build(schema, tasks, **options):
    if ray.is_initialized():  # not where the command tries it
        raise RuntimeError("no dictionary here")
    return SharedBottom(schema, tasks, embedding_dim=2, bottom_units=[4], tower_units=[2])
"""


@pytest.mark.drill
class TestBrokenTrials:
    def test_a_trial_that_never_reported_has_its_reason(self, start: Start, address: str) -> None:
        one = start("broken", sweep=TWO, tune={"max_failures": 0}, model={"name": "broken:build"})
        (one.folder / "broken.py").write_text(BROKEN)
        done = one.nmt("sweep", address=address)
        assert done.returncode == 1
        assert "2 of the 2 trials of the sweep failed" in done.stderr
        assert "no dictionary here" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.drill
class TestStopped:
    """Trials that are stopped."""

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

    @pytest.mark.drill
    def test_by_the_time_budget(self, one: Project) -> None:
        """On its own Ray, which is shut down afterwards."""
        done = one.nmt("sweep", "--set", "tune.time_budget_s=0.5", "--set", "training.max_epochs=4000", json=False)
        assert done.returncode == 0, done.stderr
        assert "2 trials were stopped; the same command goes on with them." in done.stdout
        assert "Traceback" not in done.stderr

    def test_the_same_command_trains_the_rest(self, one: Project, address: str) -> None:
        document = one.document("sweep", address=address)
        assert [trial["status"] for trial in document["trials"]] == ["finished", "finished"]
        assert one.trained == dict.fromkeys(document["trials"][0]["stage_keys"], 1) | dict.fromkeys(
            document["trials"][1]["stage_keys"], 1
        )
        finished = [run for run in one.runs("sweep") if run.info.status == "FINISHED"]
        assert [run.info.run_id for run in finished] == [document["mlflow_run_id"]]


@pytest.mark.drill
class TestWorkersOfATrial:
    """Each trial starts a worker group of its own."""

    SET = ("--set", "tune.workers_per_trial=2", "--set", "scaling.hang_timeout_s=60")

    @pytest.fixture(scope="class")
    @classmethod
    def two(cls, start: Start, address: str) -> tuple[Project, dict[str, Any]]:
        one = start("workers", sweep={**TWO, "eta_lambda": [10.0]})
        return one, one.document("sweep", *cls.SET, address=address)

    def test_finds_what_one_worker_finds(
        self, two: tuple[Project, dict[str, Any]], beside: tuple[Project, dict[str, Any]]
    ) -> None:
        many, together = two
        one, alone = beside
        (trial,) = together["trials"]
        (same,) = (other for other in alone["trials"] if other["label"] == trial["label"])
        assert trial["stage_keys"] == same["stage_keys"]
        assert together["cost"]["samples"] == 3 * STAGE
        expected = one.losses("valid")
        found = many.losses("valid")
        assert set(found) == set(trial["stage_keys"])
        for key, losses in found.items():
            assert losses == pytest.approx(expected[key], rel=1e-4)

    @pytest.mark.drill
    def test_a_time_budget_ends_them_too(self, two: tuple[Project, dict[str, Any]]) -> None:
        many, _ = two
        at = time.monotonic()
        done = many.nmt("sweep", *self.SET, "--set", "tune.time_budget_s=25", "--set", "training.max_epochs=4000")
        document = read(done)
        assert [trial["status"] for trial in document["trials"]] == ["stopped"]
        assert time.monotonic() - at < 120

    def test_too_many_workers_are_refused(self, start: Start) -> None:
        done = start("many", sweep=TWO).here("sweep", "--set", "tune.workers_per_trial=64")
        assert done.returncode == 2
        assert "64" in done.stderr
        assert "CPU" in done.stderr
        assert "tune.workers_per_trial" in done.stderr


@pytest.mark.drill
class TestGreedy:
    def test_chooses_stage_by_stage(self, start: Start, address: str) -> None:
        rates = {"eta_theta": [0.003, 0.01], "eta_lambda": [10.0]}
        one = start("greedy", sweep=rates)
        planned = one.planned("--set", "sweep.greedy=true")["sweep"]
        document = one.document("sweep", "--greedy", address=address)
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert (planned["trials"], planned["stages"]) == (2 + 2 + 2, 6)
        (winner,) = (trial for trial in document["trials"] if trial["label"] == document["winner"])
        last = document["trials"][4:]
        assert winner in last
        # Every trial of a stage starts with the stages of the best trial before it.
        assert {tuple(trial["stage_keys"][:2]) for trial in last} == {tuple(winner["stage_keys"][:2])}
        assert {tuple(trial["stage_keys"][:1]) for trial in document["trials"][2:4]} == {
            tuple(winner["stage_keys"][:1])
        }
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len(one.stages) == 6
