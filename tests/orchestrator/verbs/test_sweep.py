"""``nmt sweep`` as a user runs it, on its own Ray: chains on Ray Tune, tracked in MLflow, with and without faults."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.orchestrator._commands import (
    NOWHERE,
    STAGE,
    TASKS,
    Project,
    Start,
    end,
    kill_group,
    read,
    reused,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NINE = {"eta_theta": [0.001, 0.003, 0.01], "eta_lambda": [1.0, 10.0, 100.0]}
SIX = {"eta_theta": [0.001, 0.003, 0.01], "eta_lambda": [1.0, 10.0]}


class TestSweep:
    """Three learning rates of the parameters and three of the multipliers: 3 + 3 + 9 + 9 stages for 36."""

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, start: Start) -> tuple[Project, dict[str, Any], dict[str, Any]]:
        """The project, the plan, and the outcome."""
        one = start("nine", sweep=NINE, training={"recipe": "joint"})
        planned = one.planned()["sweep"]
        return one, planned, one.document("sweep")

    def test_shared_stages_are_trained_once(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, document = swept
        assert (document["cost"]["stages"], document["cost"]["stages_reused"]) == (24, 12)
        assert len(one.stages) == 24
        assert one.trained == dict.fromkeys(one.stages, 1)
        assert len([run for run in one.runs("stage") if reused(run)]) == 12

    def test_costs_what_was_planned(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        _, planned, document = swept
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert planned["exact"]
        assert document["cost"]["samples"] == 24 * STAGE

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
            assert [stage.data.tags["nmt.task"] for stage in own] == ["joint", *TASKS]
        assert {run.info.status for run in [sweep, *chains, *stages]} == {"FINISHED"}
        assert sweep.data.tags["nmt.winner"] == document["winner"]
        curve = one.client.get_metric_history(sweep.info.run_id, "cost/trials")
        assert sorted((point.step, point.value) for point in curve) == [(n, n) for n in range(1, 10)]

    def test_the_same_command_again_starts_no_ray(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, before = swept
        after = read(one.here("sweep", address=NOWHERE))
        assert (after["cost"]["stages"], after["cost"]["stages_reused"]) == (0, 36)
        assert after["winner"] == before["winner"]
        assert one.trained == dict.fromkeys(one.stages, 1)

    def test_prints_a_table(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        one, _, before = swept
        done = one.here("sweep", json=False, address=NOWHERE)
        assert done.returncode == 0, done.stderr
        for trial in before["trials"]:
            (row,) = (line for line in done.stdout.splitlines() if line.startswith(trial["label"] + " "))
            assert "0 + 4" in row
            assert row.rstrip().endswith("winner") == (trial["label"] == before["winner"])
            assert f"{trial['test']['pay']:.4f}" in row
        assert "9 trials, 0 stages trained, 36 reused" in done.stdout
        assert "nmt ui" in done.stdout
        assert "[9/9]" in done.stderr

    @pytest.mark.drill
    def test_another_value_needs_a_cluster(self, swept: tuple[Project, dict[str, Any], dict[str, Any]]) -> None:
        """Shows that the wrong address of the two tests above is really used."""
        one, _, _ = swept
        done = one.nmt("sweep", "--set", "sweep.eta_lambda=[2.0]", address=NOWHERE)
        assert done.returncode == 1
        assert NOWHERE in done.stderr


@pytest.mark.drill
class TestFaults:
    """One sweep: a trial's process is killed, then the command, then the next command is interrupted."""

    @pytest.fixture(scope="class")
    @classmethod
    def disturbed(cls, start: Start) -> tuple[Project, dict[str, Any]]:
        one = start("faults", sweep=SIX, training={"max_epochs": 8}, execution={"checkpoint_every": 4})
        first = one.start("sweep")

        def killed_in_the_middle() -> bool:
            """Without delay: a moment later the stage may be finished."""
            for key, pid in one.in_training.items():
                if one.checkpoint(key) >= 8:
                    end(pid)
                    return True
            return False

        one.wait_for("a checkpoint", killed_in_the_middle)
        one.wait_for("a stage that goes on", lambda: "goes on from step" in first.said)
        one.wait_for("three stages", lambda: len(one.stages) >= 3)
        kill_group(first)
        assert first.family.end(90) == []

        kept = len(one.stages)
        second = one.start("sweep")
        one.wait_for("two more stages", lambda: len(one.stages) >= kept + 2)
        second.process.send_signal(signal.SIGINT)  # only to the command, which must end Ray's processes itself
        at = time.monotonic()
        second.wait()
        assert time.monotonic() - at < 30
        assert second.family.end(90) == []
        assert second.process.returncode == 130, second.said
        assert "the same command resumes from them" in second.said
        assert "Traceback" not in second.said
        (sweep,) = one.runs("sweep")
        assert sweep.info.status == "KILLED"
        assert not [run for run in [*one.runs("chain"), *one.runs("stage")] if run.info.status == "RUNNING"]
        return one, one.document("sweep")

    def test_every_stage_is_trained_once(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, document = disturbed
        assert (document["cost"]["stages"], document["cost"]["stages_reused"]) == (3 + 6 + 6, 3)
        assert document["cost"]["samples"] == 4 * 15 * STAGE
        assert len(one.stages) == 15
        assert one.trained == dict.fromkeys(one.stages, 1)

    def test_mlflow_has_one_sweep_and_everything_once(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, document = disturbed
        (sweep,) = one.runs("sweep")
        assert sweep.info.run_id == document["mlflow_run_id"]
        assert sweep.info.status == "FINISHED"
        chains, stages = one.runs("chain"), one.runs("stage")
        assert (len(chains), len(stages)) == (6, 18)
        assert {run.info.status for run in [*chains, *stages]} == {"FINISHED"}
        for stage in stages:
            if not reused(stage):
                history = one.client.get_metric_history(stage.info.run_id, "train/loss/pay")
                assert [point.step for point in history] == list(range(1, int(stage.data.metrics["cost/steps"]) + 1))

    def test_no_checkpoint_is_left(self, disturbed: tuple[Project, dict[str, Any]]) -> None:
        one, _ = disturbed
        assert not list(one.storage.glob("checkpoints/*/*"))
