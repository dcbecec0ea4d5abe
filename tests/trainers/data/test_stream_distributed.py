"""A streamed chain on one, two and three workers: same trajectory, no references of the training split."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.trainers.data import prepared
from nmt.trainers.data.open_feed import open_feed
from nmt.trainers.models.build import build_model
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, paper
from tests.trainers._workers import Workers

Found = dict[str, dict[str, Any]]
"""Scenario → records, state and events of a worker."""

SGD: dict[str, Any] = {
    "max_epochs": 2,
    "evaluations_per_epoch": 1,
    "patience": 100,
    "optimizer": "sgd",
    "eta_theta": 0.3,
    "eta_lambda": 2.0,
}
SCENARIOS: dict[str, dict[str, Any]] = {
    "minibatch": {"violations": "minibatch", "relative": False},
    "held out": {"violations": "held_out", "measure_every": 2},
}


def spec_of(name: str, folder: str) -> ChainSpec:
    levels = [[binary("first", 0.01)], [binary("second")], [binary("third")]]
    training = paper(**SGD, **SCENARIOS[name])
    model = "tests.trainers._problems:TwoTowers"
    spec = chain_spec(Path(folder) / "data", levels, training, model=model, double=True)
    return dataclasses.replace(spec, ingest="stream")


def run_all(rank: int, workers: int, folder: str) -> Found:
    found: Found = {}
    for name in SCENARIOS:
        spec = spec_of(name, folder)
        store = StageStore(f"{folder}/{workers} workers/{name}")
        for attempt in ("first", "again"):
            labels = [task.label for task in spec.tasks]
            feed = open_feed(spec.ingest, f"{folder}/data", labels, spec.batch_size, 0, rank, workers)
            model = build_model(spec.model, feed.schema, spec.tasks, 0)
            recorder = Recorder()
            records = run_chain(spec, model, feed, store, recorder)
            found[f"{name}, {attempt}"] = {
                "records": [record.to_json() for record in records],
                "state": dict(model.state_dict()),
                "events": recorder.kinds(),
            }
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "SHARD_ROWS", 100)  # 8 units of 25 rows; the last one has 5
        conflict(folder / "data")
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Found:
    return run_all(0, 1, str(folder))


@pytest.fixture(scope="module")
def runs(folder: Path, workers: Workers) -> Callable[[int], list[Found]]:
    @functools.cache
    def found(count: int) -> list[Found]:
        return workers.run(count, run_all, str(folder))

    return found


def records_of(found: Found, name: str, attempt: str = "first") -> list[StageRecord]:
    return [StageRecord.from_json(text) for text in found[f"{name}, {attempt}"]["records"]]


def trajectory(records: list[StageRecord]) -> list[float]:
    rows = [row for record in records for row in record.rows]
    return [n for row in rows for part in (row.losses, row.violations, row.multipliers) for n in part.values()]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", SCENARIOS)
def test_same_trajectory_in_double_precision(
    alone: Found, runs: Callable[[int], list[Found]], count: int, name: str
) -> None:
    together = runs(count)
    one, several = records_of(alone, name), records_of(together[0], name)
    assert [record.steps for record in one] == [12, 12, 12]
    assert trajectory(several) == pytest.approx(trajectory(one), abs=1e-6, rel=0)
    assert len({row.multipliers["first"] for row in one[1].rows}) > 4  # λ moves
    for key, value in alone[f"{name}, first"]["state"].items():
        torch.testing.assert_close(together[0][f"{name}, first"]["state"][key], value, atol=1e-6, rtol=0)
    for a, b in zip(one, several, strict=True):
        assert (a.accepted_step, a.steps, a.samples) == (b.accepted_step, b.steps, b.samples)
        assert b.certificate is not None
        assert b.certificate.examples == 180
    for other in together[1:]:
        assert other[f"{name}, first"]["records"] == together[0][f"{name}, first"]["records"]
        assert_identical(other[f"{name}, first"]["state"], together[0][f"{name}, first"]["state"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_second_run_trains_nothing(alone: Found, name: str) -> None:
    assert alone[f"{name}, again"]["events"] == ["StageFinished"] * 3
    assert alone[f"{name}, again"]["records"] == alone[f"{name}, first"]["records"]
    assert_identical(alone[f"{name}, again"]["state"], alone[f"{name}, first"]["state"])


def test_no_references_of_the_training_split_are_kept(folder: Path, alone: Found) -> None:
    store = StageStore(str(folder / "1 workers" / "minibatch"))
    stored = store.references(records_of(alone, "minibatch")[0].key)
    assert set(stored.sums) == set(stored.counts) == {"valid", "test"}
    assert stored.sums["valid"]["first"].shape == (120,)
    optimum = records_of(alone, "minibatch")[0].optima[0]
    assert optimum.train_samples > 100  # its mean is still recorded
