"""The chain on one, two and three workers: the same trajectory, the same records on every worker."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper, ranking
from tests.trainers._workers import Workers

Found = dict[str, dict[str, Any]]
"""Scenario → what a worker saw of it."""

FIRST, SECOND, THIRD = binary("first", 0.01), binary("second"), binary("third")
NET: dict[str, Any] = {"embedding_dim": 2, "bottom_units": [8], "tower_units": [4]}
PAIRS = ([Task("pay", "pairwise_logistic")], [Task("amount", "pairwise_logistic")])


def scenarios(folder: Path) -> dict[str, tuple[ChainSpec, Path]]:
    """Few steps: three workers on two busy cores wait for each other in every one of them."""
    rows, lists = folder / "rows", folder / "lists"
    short: dict[str, Any] = {"max_epochs": 2, "evaluations_per_epoch": 1, "patience": 100}
    sgd: dict[str, Any] = {**short, "optimizer": "sgd", "eta_theta": 0.3, "eta_lambda": 2.0}
    adam: dict[str, Any] = {**short, "eta_theta": 0.02, "eta_lambda": 1.0}
    joint = {"joint_weight": 0.65, "later_weight": 0.3, "violations": "held_out", "measure_every": 2}
    # λ stays 0, the stage is for its own task alone, and the strict rule refuses all of it.
    careless: dict[str, Any] = {
        **short,
        "eta_theta": 0.05,
        "eta_lambda": 1e-9,
        "initial_multiplier": 0.0,
        "retreats": 0,
    }

    def towers(*levels: list[Task], **training: Any) -> tuple[ChainSpec, Path]:
        model = "tests.trainers._problems:TwoTowers"
        return chain_spec(rows, levels, paper(**training), model=model, double=True), rows

    return {
        "double": towers([FIRST], [SECOND], [THIRD], **sgd, clip_norm=0.5),
        "paired": towers([FIRST], [SECOND], **sgd, violations="paired"),
        "held out": towers([FIRST], [SECOND], **sgd, violations="held_out", measure_every=2),
        "metric": towers([FIRST], [SECOND], **sgd, accept_on="metric"),
        "joint": towers([FIRST], [SECOND], [THIRD], **sgd, **joint),
        "joint levels": towers([FIRST], [SECOND, THIRD], **sgd, **joint),
        "joint net": (
            chain_spec(rows, ([FIRST], [SECOND], [THIRD]), paper(**adam, **joint), "shared_bottom", **NET),
            rows,
        ),
        "score": (chain_spec(rows, ([FIRST], [SECOND]), paper(**adam), units=[8], batch_size=20), rows),
        "lists": (chain_spec(lists, PAIRS, paper(**adam), batch_size=8), lists),
        "handed over": (
            chain_spec(rows, ([FIRST], [THIRD]), paper(**careless, accept_standard_errors=0.0), units=[16, 8]),
            rows,
        ),
    }


SCENARIOS = {
    1: ("double", "paired", "held out", "metric", "joint", "joint levels", "joint net", "score", "lists"),
    2: (
        "double",
        "paired",
        "held out",
        "metric",
        "joint",
        "joint levels",
        "joint net",
        "score",
        "lists",
        "handed over",
    ),
    3: ("double", "joint", "lists"),
}
"""Number of workers → what they run."""


def cases(*names: str) -> list[tuple[int, str]]:
    """Numbers of workers with scenarios, all of them or those named."""
    return [(count, name) for count in (2, 3) for name in SCENARIOS[count] if not names or name in names]


def run_all(rank: int, workers: int, folder: str) -> Found:
    """Run every scenario, and the last one from the point where one worker stopped."""
    found: Found = {}
    for name in SCENARIOS[workers]:
        spec, data = scenarios(Path(folder))[name]
        recorder = Recorder()
        storage = Path(folder) / f"{workers} workers" / name
        feed, model = feed_and_model(spec, data, rank, workers)
        records = run_chain(spec, model, feed, StageStore(str(storage)), recorder)
        again = Recorder()
        feed, other = feed_and_model(spec, data, rank, workers)
        reused = run_chain(spec, other, feed, StageStore(str(storage)), again)
        found[name] = {
            "records": [record.to_json() for record in records],
            "reused": [record.to_json() for record in reused],
            "events": recorder.kinds(),
            "events again": again.kinds(),
            "state": dict(model.state_dict()),
            "state again": dict(other.state_dict()),
        }
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, and a storage for two workers in which one worker has done all stages but the last."""
    folder = tmp_path_factory.mktemp("chains")
    conflict(folder / "rows")
    ranking(folder / "lists")
    spec, data = scenarios(folder)["handed over"]
    feed, model = feed_and_model(spec, data)
    storage = folder / "2 workers" / "handed over"
    records = run_chain(spec, model, feed, StageStore(str(storage)), Recorder())
    shutil.rmtree(storage / "stages" / records[-1].key)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Found:
    return run_all(0, 1, str(folder))


Runs = Callable[[int], list[Found]]


@pytest.fixture(scope="module")
def runs(folder: Path, workers: Workers) -> Runs:
    """Number of workers → what each of them saw; they run when first asked for."""

    @functools.cache
    def found(count: int) -> list[Found]:
        return workers.run(count, run_all, str(folder))

    return found


def records_of(found: Found, name: str) -> list[StageRecord]:
    return [StageRecord.from_json(text) for text in found[name]["records"]]


def trajectory(records: Sequence[StageRecord]) -> list[float]:
    return [
        number
        for record in records
        for row in record.rows
        for part in (row.losses, row.violations, row.multipliers)
        for number in part.values()
    ]


@pytest.mark.parametrize(("count", "name"), cases())
def test_every_worker_has_the_same_records_and_parameters(runs: Runs, count: int, name: str) -> None:
    together = runs(count)
    for other in together[1:]:
        assert other[name]["records"] == together[0][name]["records"]
        state: dict[str, Tensor] = other[name]["state"]
        assert_identical(state, together[0][name]["state"])


@pytest.mark.parametrize(("count", "name"), cases())
def test_only_the_first_worker_reports(runs: Runs, count: int, name: str) -> None:
    together = runs(count)
    assert "StageFinished" in together[0][name]["events"]
    assert [other[name]["events"] for other in together[1:]] == [[]] * (len(together) - 1)


@pytest.mark.parametrize(("count", "name"), cases())
def test_running_again_trains_nothing(runs: Runs, count: int, name: str) -> None:
    together = runs(count)
    stages = len(together[0][name]["records"])
    assert together[0][name]["events again"] == ["StageFinished"] * stages
    for worker in together:
        assert worker[name]["reused"] == worker[name]["records"]
        assert_identical(worker[name]["state again"], worker[name]["state"])


@pytest.mark.parametrize(("count", "name"), cases("double", "paired", "held out", "metric", "joint", "joint levels"))
def test_same_trajectory_in_double_precision(alone: Found, runs: Runs, count: int, name: str) -> None:
    together = runs(count)
    one, several = records_of(alone, name), records_of(together[0], name)
    assert [record.workers for record in several] == [len(together)] * len(one)
    expected = trajectory(one)
    assert len(expected) == 12 * sum(len(record.objective) + 3 * len(record.protected) for record in one)
    assert trajectory(several) == pytest.approx(expected, abs=1e-6, rel=0)
    assert len({row.multipliers["first"] for row in one[-1].rows}) > 5  # λ does move
    for a, b in zip(one, several, strict=True):
        assert (a.accepted_step, a.steps, a.samples) == (b.accepted_step, b.steps, b.samples)
        assert [c.losses for c in b.candidates] == [pytest.approx(c.losses, abs=1e-6, rel=0) for c in a.candidates]


@pytest.mark.parametrize(("count", "name"), cases("joint", "joint levels", "joint net"))
def test_same_optima_through_stage_0(alone: Found, runs: Runs, count: int, name: str) -> None:
    """Each optimum within 1e-4 of that of one worker, in double precision and in single, by SGD and by Adam."""
    one, several = records_of(alone, name), records_of(runs(count)[0], name)
    assert [record.number for record in several] == list(range(len(one)))
    assert one[0].gained
    assert several[0].losses["train"] == pytest.approx(one[0].losses["train"], abs=1e-4)
    found, expected = ([optimum for record in records for optimum in record.optima] for records in (several, one))
    assert [optimum.task for optimum in found] == [task.name for task in (FIRST, SECOND, THIRD)]
    for x, y in zip(expected, found, strict=True):
        assert (y.train, y.valid) == pytest.approx((x.train, x.valid), abs=1e-4)
        assert (y.train_samples, y.valid_samples) == (x.train_samples, x.valid_samples)


def test_workers_judge_metrics_as_one_worker_does(alone: Found, runs: Runs) -> None:
    """Each holds every second row; the first one compares all of them, and says so to the others."""
    (_, one), (_, two) = records_of(alone, "metric"), records_of(runs(2)[0], "metric")
    pairs = list(zip(one.candidates, two.candidates, strict=True))
    assert [b.feasible for _, b in pairs] == [a.feasible for a, _ in pairs]
    for a, b in [*((x.verdicts[0], y.verdicts[0]) for x, y in pairs), *zip(one.verdicts, two.verdicts, strict=True)]:
        assert a.metric is not None
        assert b.metric is not None
        assert (b.metric.value, b.metric.reference) == pytest.approx((a.metric.value, a.metric.reference), abs=1e-6)
        assert b.metric.standard_error == pytest.approx(a.metric.standard_error, abs=1e-6)
        assert b.kept == a.kept == b.metric.held


@pytest.mark.parametrize(("count", "name"), cases("score", "lists"))
def test_same_optima_in_single_precision(alone: Found, runs: Runs, count: int, name: str) -> None:
    together = runs(count)
    for a, b in zip(records_of(alone, name), records_of(together[0], name), strict=True):
        for x, y in zip(a.optima, b.optima, strict=True):
            assert y.train == pytest.approx(x.train, rel=1e-4)
            assert y.valid == pytest.approx(x.valid, rel=1e-4)
            assert (y.train_samples, y.valid_samples) == (x.train_samples, x.valid_samples)
        assert b.metrics["valid"] == pytest.approx(a.metrics["valid"], abs=2e-3)


@pytest.mark.parametrize(("count", "name"), cases("double", "lists"))
def test_references_are_those_of_one_worker(folder: Path, alone: Found, runs: Runs, count: int, name: str) -> None:
    """Per-example losses, in the order of the split."""
    runs(count)
    for record in records_of(alone, name):
        one, several = (
            StageStore(str(folder / f"{workers} workers" / name)).references(record.key) for workers in (1, count)
        )
        for split in ("train", "valid", "test"):
            for task in record.level:
                assert several.counts[split][task].tolist() == one.counts[split][task].tolist()
                assert several.sums[split][task].tolist() == pytest.approx(
                    one.sums[split][task].tolist(), rel=1e-4, abs=1e-4 if name == "lists" else 1e-6
                )


def test_another_number_of_workers_keeps_the_guarantee(runs: Runs) -> None:
    """One worker solved the first stage; others take over, gain nothing, and the rule is strict.

    The starting point is feasible by construction, so rounding in another order must not make it a broken promise.
    """
    found = runs(2)[0]
    assert found["handed over"]["events"] == ["StageFinished", "StageStarted", "StageFinished"]
    last = records_of(found, "handed over")[-1]
    assert not last.gained
    assert last.held, last.verdicts
