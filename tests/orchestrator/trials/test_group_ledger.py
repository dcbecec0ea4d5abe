"""Ledger of a group: its total cost, and the best result so far."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from nmt.orchestrator.trials.chain_ledger import ChainLedger
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.group_ledger import GroupLedger, higher_is_better, shown_value
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.learning_rates import greedy_trials
from nmt.orchestrator.trials.trial import TrialResult
from nmt.trainers.reporter import Progress, StageAwaited, StageFinished
from nmt.trainers.spec.chain_spec import Rates
from nmt.trainers.spec.task import Task
from tests.orchestrator import _records
from tests.orchestrator._trials import Shelf, binary, spec_of

LEVELS = ((binary("a"),), (Task("b", "squared_error"),))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


@pytest.fixture
def ledger(shelf: Shelf) -> GroupLedger:
    return GroupLedger(LEVELS, HeldOut(shelf.stages))


def flat(value: float) -> list[float]:
    return [value] * 10


def test_costs_add_up_and_wall_time_is_the_groups(shelf: Shelf, ledger: GroupLedger) -> None:
    spent = [
        Cost(1, 2, 0, 20, 200, 0, 3.0, 30.0),
        Cost(1, 1, 1, 10, 100, 100, 1.5, 20.0),
        Cost(1, 0, 2, 0, 0, 200, 0.0, 10.0),
    ]
    for number, cost in enumerate(spent, 1):
        result = shelf.result(f"trial {number}", {"a": flat(0.5), "b": flat(0.5)}, cost=cost)
        snapshot = ledger.add(result, wall_seconds=7.0 * number)
        assert snapshot.trials == snapshot.cost.trials == number
        assert snapshot.cost.wall_seconds == 7.0 * number
        assert snapshot.cost.samples == sum(one.samples for one in spent[:number])
    assert ledger.cost == Cost(3, 3, 3, 30, 300, 300, 4.5, 0.0)
    assert snapshot.cost == replace(ledger.cost, wall_seconds=21.0)


def test_the_best_has_the_direction_of_its_metric(shelf: Shelf, ledger: GroupLedger) -> None:
    """The highest AUC of a and the lowest RMSE of b, each over all trials."""
    for label, a, b in (("one", 0.7, 3.0), ("two", 0.9, 5.0), ("three", 0.8, 2.0)):
        metrics = {"a": a, "b": b}
        snapshot = ledger.add(shelf.result(label, {"a": flat(1.0), "b": flat(1.0)}, metrics=metrics), 0.0)
    assert snapshot.best == {"a": 0.9, "b": 2.0}


def test_a_task_without_a_metric_shows_its_loss(shelf: Shelf) -> None:
    own = Task("a", "tests.trainers._own_losses:absolute_error")
    assert own.metric == ""
    ledger = GroupLedger(((own,),), HeldOut(shelf.stages))
    ledger.add(shelf.result("one", {"a": flat(0.25)}, metrics={"a": 99.0}), 0.0)
    snapshot = ledger.add(shelf.result("two", {"a": flat(0.5)}, metrics={"a": 0.0}), 0.0)
    assert snapshot.best == snapshot.winner == {"a": 0.25}
    assert [higher_is_better(task) for task in (own, *LEVELS[0], *LEVELS[1])] == [False, True, False]


def test_the_winner_so_far(shelf: Shelf, ledger: GroupLedger) -> None:
    """Chosen by losses and shown by metrics; another trial may be best on a task."""
    first = ledger.add(shelf.result("one", {"a": flat(0.5), "b": flat(0.9)}, metrics={"a": 0.9, "b": 3.0}), 0.0)
    assert first.winner == {"a": 0.9, "b": 3.0}
    second = ledger.add(shelf.result("two", {"a": flat(0.5), "b": flat(0.8)}, metrics={"a": 0.8, "b": 4.0}), 0.0)
    assert second.winner == {"a": 0.8, "b": 4.0}
    assert second.best == {"a": 0.9, "b": 3.0}
    third = ledger.add(shelf.result("three", {"a": flat(0.6), "b": flat(0.1)}, metrics={"a": 0.7, "b": 5.0}), 0.0)
    assert third.winner == second.winner


def test_baselines_cost_and_do_not_compete(shelf: Shelf, ledger: GroupLedger) -> None:
    ledger.add(shelf.result("one", {"a": flat(0.5), "b": flat(0.5)}, metrics={"a": 0.5, "b": 3.0}, source="grid"), 0.0)
    samples = {"a": flat(0.1), "b": flat(0.1)}
    snapshot = ledger.add(shelf.result("equal", samples, metrics={"a": 1.0, "b": 0.0}, source="baseline"), 0.0)
    assert snapshot.best == snapshot.winner == {"a": 0.5, "b": 3.0}
    assert (snapshot.trials, snapshot.cost.samples) == (2, 2000)


def test_unfinished_trials_cost_and_do_not_compete(shelf: Shelf, ledger: GroupLedger) -> None:
    result = shelf.result("one", {"a": flat(0.1), "b": flat(0.1)}, status="diverged")
    snapshot = ledger.add(result, 0.0)
    assert (snapshot.best, snapshot.winner, ledger.winner) == ({}, {}, None)
    assert snapshot.cost.samples == 1000
    empty = ledger.add(replace(result, records=(), status="failed", cost=Cost(trials=1)), 0.0)
    assert empty.cost.trials == 2


@pytest.mark.parametrize("order", [(0.7, math.nan, 0.8), (math.nan, 0.7, 0.8), (0.8, 0.7, math.nan)])
def test_a_nan_metric_is_never_the_best(shelf: Shelf, ledger: GroupLedger, order: tuple[float, ...]) -> None:
    for number, value in enumerate(order):
        metrics = {"a": value, "b": value}
        snapshot = ledger.add(shelf.result(str(number), {"a": flat(1), "b": flat(1)}, metrics=metrics), 0.0)
    assert snapshot.best == {"a": 0.8, "b": 0.7}


def test_metrics_of_a_snapshot(shelf: Shelf, ledger: GroupLedger) -> None:
    snapshot = ledger.add(shelf.result("one", {"a": flat(1), "b": flat(1)}, metrics={"a": 0.5, "b": 3.0}), 12.0)
    found = snapshot.metrics()
    assert {name for name in found if not name.startswith("cost/")} == {"best/a", "best/b", "winner/a", "winner/b"}
    assert found["cost/samples"] == 1000
    assert found["cost/wall_seconds"] == 12.0
    assert set(snapshot.cost.metrics()) <= set(found)


def test_in_a_greedy_sweep_the_latest_stage_counts(shelf: Shelf, ledger: GroupLedger) -> None:
    spec = spec_of(["a"], ["b"])
    first = shelf.stage("first", {"a": flat(0.5)}, level=["a"], metrics={"a": 0.9})
    one = greedy_trials(spec, (1e-3,), (1.0,), ())[0]
    snapshot = ledger.add(TrialResult(one, (first,), Cost(trials=1), "finished"), 0.0)
    assert snapshot.winner == {"a": 0.9}
    second = shelf.stage("second", {"a": flat(0.6), "b": flat(0.5)}, stage=1, level=["b"], metrics={"a": 0.8, "b": 1})
    two = greedy_trials(spec, (1e-3,), (1.0,), [Rates(1e-3, 1.0)])[0]
    snapshot = ledger.add(TrialResult(two, (first, second), Cost(trials=1), "finished"), 0.0)
    assert snapshot.winner == {"a": 0.8, "b": 1}
    assert ledger.winner is not None
    assert ledger.winner.trial is two


def test_unknown_values_are_not_shown(shelf: Shelf) -> None:
    result = shelf.result("one", {"a": flat(1.0)})
    assert shown_value(LEVELS[0][0], result, "test") == 0.8
    assert shown_value(LEVELS[1][0], result, "test") is None
    assert shown_value(LEVELS[0][0], replace(result, records=()), "test") is None


# --- a chain's own ----------------------------------------------------------------------------------------------------


def test_a_chain_counts_trained_and_reused_stages() -> None:
    one, two = _records.record(0, ["a"], steps=30), _records.record(1, ["b"], ["a"], steps=50)
    ledger = ChainLedger()
    assert ledger.take(StageAwaited(0, 1, one.key, one.level)) is not None
    assert ledger.take(StageFinished(one, reused=True)) == StageFinished(one, reused=True)
    begun = _records.started(two, max_steps=50)
    assert ledger.take(begun) is begun
    progress = Progress(1, 1, ())
    assert ledger.take(progress) is progress
    assert ledger.take(StageFinished(two, reused=False)) == StageFinished(two, reused=False)
    assert ledger.cost == Cost(1, 1, 1, 50, 500, 300, 1.5, 1.5)
    assert list(ledger.records.values()) == [one, two]
    assert list(ledger.trained) == [two.key]


def test_after_the_loss_of_a_worker_nothing_is_counted_twice() -> None:
    """The group restarts and finds the stages that this same run trained."""
    one, two = _records.record(0, ["a"]), _records.record(1, ["b"], ["a"])
    ledger = ChainLedger()
    ledger.take(_records.started(one))
    ledger.take(StageFinished(one, reused=False))
    ledger.take(_records.started(two))
    assert ledger.take(StageFinished(one, reused=True)) is None
    # The record was stored, and the worker lost before it could report it.
    assert ledger.take(StageFinished(two, reused=True)) == StageFinished(two, reused=False)
    assert (ledger.cost.stages, ledger.cost.stages_reused, ledger.cost.samples) == (2, 0, 2000)


def test_a_stage_whose_events_got_lost_is_counted_by_its_record() -> None:
    """Its events got lost, perhaps with the driver, and the stage is found at the end."""
    one = replace(_records.record(0, ["a"]), trained_by="this run")
    for run_uuid, reused in (("this run", False), ("another run", True), ("", True)):
        ledger = ChainLedger(run_uuid=run_uuid)
        assert ledger.take(StageFinished(one, reused=True)) == StageFinished(one, reused=reused)
        assert (ledger.cost.stages, ledger.cost.stages_reused) == (int(not reused), int(reused))
    ledger = ChainLedger(run_uuid="")
    unknown = replace(one, trained_by="")  # trained outside any MLflow run
    assert ledger.take(StageFinished(unknown, reused=True)) == StageFinished(unknown, reused=True)


def test_a_resumed_chain_counts_what_it_trained_before() -> None:
    one = _records.record(0, ["a"])
    ledger = ChainLedger([one.key])
    assert ledger.take(StageFinished(one, reused=True)) == StageFinished(one, reused=False)
    assert ledger.cost.samples == 1000
