"""A short fault drill: a command and a worker are killed, and a node is lost, against an undisturbed run."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from tests.drill.content import Content, differences, log_differences
from tests.drill.faults.fault import Fault
from tests.drill.faults.registry import FAULTS
from tests.drill.faults.signals import kill_command, send_signal
from tests.drill.outcome import Outcome, examine
from tests.drill.site import Site
from tests.drill.table import outcome_table
from tests.drill.trial import Trial, fresh_trial
from tests.drill.undisturbed import Undisturbed
from tests.orchestrator.conftest import DRILL

POINTS = [("lambda/first", 5, 0.5), ("lambda/first", 10, 0.25), ("cost/wall_seconds", 10, None)]
CONTENT = Content(
    keys=("k",),
    records=({"key": "k", "steps": 10, "optima": [0.1]},),
    states=({"weight": torch.tensor([0.0, 1.0])},),
    logged=(("chain k", {"status": "FINISHED", "tags": {}, "params": {"a": "1"}, "points": POINTS}),),
)


def both(trial: Trial, keys: Sequence[str]) -> float:
    """Kill the command in stage 2, run it again, and kill a worker in stage 3."""
    kill_command(trial, keys[1])
    trial.start()
    trial.reach(keys[2])
    at = send_signal(trial.worker(1).pid, signal.SIGKILL)
    trial.finish()
    return at


@pytest.fixture(scope="module")
def outcome(drill_site: Site, undisturbed_drill: Undisturbed) -> Outcome:
    """Outcome of a run with both faults."""
    with fresh_trial(drill_site, "disturbed") as trial:
        at = both(trial, undisturbed_drill.content.keys)
        return examine(trial, Fault("both", both, times=2), at, undisturbed_drill)


@pytest.mark.ray
@pytest.mark.slow
class TestKilledCommandAndKilledWorker:
    def test_every_stage_ends_with_the_same_bits(self, outcome: Outcome) -> None:
        assert outcome.equal, outcome.problems

    def test_no_stage_is_trained_twice(self, outcome: Outcome) -> None:
        assert outcome.trained_twice == 0

    def test_mlflow_has_everything_once(self, outcome: Outcome) -> None:
        assert outcome.once, outcome.problems

    def test_fewer_steps_are_lost_than_lie_between_checkpoints(self, outcome: Outcome) -> None:
        assert outcome.lost_steps is not None
        assert 0 < outcome.lost_steps < 2 * DRILL.checkpoint_every  # twice: there were two faults

    def test_nothing_else_is_wrong(self, outcome: Outcome) -> None:
        assert outcome.problems == ()


@pytest.mark.drill
@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_node_changes_no_bit(drill_site: Site, undisturbed_drill: Undisturbed) -> None:
    fault = FAULTS["node"]
    # Slow enough for the node to be chosen while the stage lasts.
    slow = replace(drill_site, size=replace(drill_site.size, pace=0.03))
    with fresh_trial(slow, "node") as trial:
        outcome = examine(trial, fault, fault.make(trial, undisturbed_drill.content.keys), undisturbed_drill)
    assert outcome.problems == ()
    assert outcome.equal
    assert outcome.once
    assert outcome.trained_twice == 0
    assert "stage 2: workers on 2 of 2 nodes" in outcome.notes
    assert [note for note in outcome.notes if note.endswith(("had the first worker", "had the second worker"))]


class TestTheDrillItself:
    """The comparison finds every difference."""

    def test_equal_contents_have_no_difference(self) -> None:
        assert differences(CONTENT, CONTENT) == []
        assert log_differences(CONTENT, CONTENT) == []

    def test_finds_another_number_in_a_record(self) -> None:
        found = replace(CONTENT, records=({**CONTENT.records[0], "optima": [math.nextafter(0.1, 1.0)]},))
        assert differences(found, CONTENT) == ["stage 1: optima differs"]

    def test_finds_another_bit_in_a_parameter(self) -> None:
        found = replace(CONTENT, states=({"weight": torch.tensor([1e-45, 1.0])},))
        assert differences(found, CONTENT) == ["stage 1: parameter weight differs"]

    def test_finds_a_missing_stage(self) -> None:
        assert differences(replace(CONTENT, keys=(), records=(), states=()), CONTENT) != []

    @pytest.mark.parametrize(
        ("points", "expected"),
        [
            ([*POINTS, POINTS[0]], ["chain k: lambda/first at step 5 occurs 2 times"]),
            (POINTS[1:], [f"chain k: the point {POINTS[0]} is missing"]),
            ([*POINTS, ("new", 5, 0.5)], ["chain k: the point ('new', 5, 0.5) is unexpected"]),
        ],
    )
    def test_finds_missing_and_repeated_points(
        self, points: list[tuple[str, int, float | None]], expected: list[str]
    ) -> None:
        name, content = CONTENT.logged[0]
        assert log_differences(replace(CONTENT, logged=((name, {**content, "points": points}),)), CONTENT) == expected

    def test_finds_an_extra_run_and_another_status(self) -> None:
        name, content = CONTENT.logged[0]
        killed = (name, {**content, "status": "KILLED"})
        assert len(log_differences(replace(CONTENT, logged=(killed,)), CONTENT)) == 1
        assert len(log_differences(replace(CONTENT, logged=CONTENT.logged * 2), CONTENT)) == 1

    def test_reports_in_a_table(self) -> None:
        outcomes = [
            Outcome("kill", 30, 12.4, True, 0, True),
            Outcome("full disk", skipped="needs root"),
            Outcome("hang", problems=("it never ended",)),
        ]
        assert outcome_table(outcomes).splitlines()[2:] == [
            "| kill | 30 | 12 | yes | 0 | yes |",
            "| full disk | skipped | needs root |  |  |  |",
            "| hang | failed |  |  |  |  |",
        ]
