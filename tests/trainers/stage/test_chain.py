"""The chain: the guarantee, memoisation, resuming."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import nmt.trainers.stage.candidates
import nmt.trainers.stage.chain
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.faults import NumericalError
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import StageFinished, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_identical, assert_kept, assert_same_result
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper, ranking

FIRST, SECOND, THIRD = binary("first"), binary("second"), binary("third")
SHORT = {"max_epochs": 3, "evaluations_per_epoch": 3, "patience": 100}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("chain") / "conflict")


def run(
    spec: ChainSpec, data: Path, storage: Path, recorder: Recorder | None = None
) -> tuple[tuple[StageRecord, ...], dict[str, Tensor]]:
    """The records of a chain on one worker, and the parameters that it returned."""
    feed, model = feed_and_model(spec, data)
    records = run_chain(spec, model, feed, StageStore(str(storage)), recorder or Recorder())
    return records, {name: value.clone() for name, value in model.state_dict().items()}


def row_losses(state: Mapping[str, Tensor], data: Path, split: str, task: str) -> NDArray[np.float64]:
    """Cross-entropy of a linear score on every labelled row, computed from the files without the engine."""
    table = pq.read_table(data / split)
    x = np.stack([table[name].to_numpy() for name in ("x", "y", "z")], 1).astype(np.float64)
    weight, bias = (state[f"layers.0.{name}"].double().numpy() for name in ("weight", "bias"))
    score = (x - 0.1) / 1.2 @ weight[0] + bias[0]
    label = table[task].to_numpy(zero_copy_only=False).astype(np.float64)
    labelled = ~np.isnan(label)
    losses: NDArray[np.float64] = np.logaddexp(0.0, np.where(label == 1, -score, score))[labelled]
    return losses


def assert_guarantee(spec: ChainSpec, data: Path, storage: Path, records: tuple[StageRecord, ...]) -> None:
    """No stage's parameters break a higher priority on the validation split, however it was trained."""
    store = StageStore(str(storage))
    states = [store.state(record.key) for record in records]
    for stage, (record, state) in enumerate(zip(records, states, strict=True)):
        assert record.held
        for value in state.values():
            assert bool(value.isfinite().all())
        for earlier, level in enumerate(spec.levels[:stage]):
            for task in level:
                reference = row_losses(states[earlier], data, "valid", task.name)
                candidate = row_losses(state, data, "valid", task.name)
                assert_kept(reference, candidate, task.tolerance, spec.training.accept_standard_errors)
                verdict = record.verdict(task.name, "valid")
                assert verdict is not None
                difference = candidate - reference
                assert verdict.difference == pytest.approx(difference.mean(), abs=1e-5)
                assert verdict.standard_error == pytest.approx(
                    difference.std(ddof=1) / len(difference) ** 0.5, abs=1e-5
                )
                assert verdict.optimum == pytest.approx(reference.mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("training", "tolerance"),
    [
        ({"eta_theta": 0.02, "eta_lambda": 0.5}, 0.0),
        ({"eta_theta": 0.02, "eta_lambda": 0.5}, 0.02),
        ({"eta_theta": 0.1, "eta_lambda": 5.0, "accept_standard_errors": 0.0}, 0.0),
        ({"eta_theta": 10.0, "eta_lambda": 0.1}, 0.0),
        ({"eta_theta": 10.0, "eta_lambda": 1e4, "accept_standard_errors": 0.0}, 0.0),
        ({"eta_theta": 1e-8, "eta_lambda": 1e-8}, 0.0),
        ({"eta_theta": 0.02, "eta_lambda": 1e4, "relative": True, "initial_multiplier": 0.0}, 0.0),
        ({"eta_theta": 1e4, "eta_lambda": 1e4, "optimizer": "sgd"}, 0.01),
        ({"eta_theta": 1e38, "eta_lambda": 1.0, "optimizer": "sgd"}, 0.0),
    ],
    ids=str,
)
def test_guarantee_for_any_learning_rates(
    data: Path, tmp_path: Path, training: dict[str, Any], tolerance: float
) -> None:
    levels = [[binary("first", tolerance)], [binary("second", tolerance)], [THIRD]]
    spec = chain_spec(data, levels, paper(**SHORT, **training))
    store = StageStore(str(tmp_path))
    diverges = training["eta_theta"] > 1e30
    if diverges:
        with pytest.raises(NumericalError):
            run(spec, data, tmp_path)
        found = [store.read(key) for key in spec.stage_keys()]
        records = tuple(record for record in found if record is not None)
        assert 0 < len(records) < 3
    else:
        records, state = run(spec, data, tmp_path)
        assert [record.stage for record in records] == [0, 1, 2]
        assert_identical(state, store.state(records[-1].key))
    assert_guarantee(spec, data, tmp_path, records)


def test_guarantee_for_tasks_of_equal_priority(data: Path, tmp_path: Path) -> None:
    spec = chain_spec(data, [[FIRST, SECOND], [THIRD]], paper(**SHORT, eta_theta=0.05, eta_lambda=1.0))
    records, _ = run(spec, data, tmp_path)
    assert [record.level for record in records] == [("first", "second"), ("third",)]
    assert records[1].protected == ("first", "second")
    assert set(records[1].multipliers) == {"first", "second"}
    assert_guarantee(spec, data, tmp_path, records)


def test_a_candidate_that_is_nan_is_not_accepted(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is returned is the best of the others, to the last bit."""
    spec = chain_spec(data, [[FIRST], [SECOND]], paper(**SHORT, eta_theta=0.05))
    measure = nmt.trainers.stage.candidates.evaluate

    def sometimes(*arguments: Any, **options: Any) -> Evaluation:
        evaluation = measure(*arguments, **options)
        calls.append(evaluation)
        return (
            dataclasses.replace(evaluation, losses=dict.fromkeys(evaluation.losses, math.nan))
            if broken()
            else evaluation
        )

    def broken() -> bool:
        return len(calls) % 3 == 0

    calls: list[Evaluation] = []
    monkeypatch.setattr(nmt.trainers.stage.candidates, "evaluate", sometimes)
    records, state = run(spec, data, tmp_path)
    for record in records:
        nan = [candidate for candidate in record.candidates if math.isnan(candidate.losses["first"])]
        assert nan
        assert not any(candidate.accepted for candidate in nan)
        assert all(math.isfinite(value) for value in record.losses["valid"].values())
    assert_identical(state, StageStore(str(tmp_path)).state(records[-1].key))


# With λ_0 = 0 and hardly any ascent, every step is for the second task alone, and the strict rule refuses them all.
CARELESS = {**SHORT, "eta_theta": 0.05, "accept_standard_errors": 0.0, "eta_lambda": 1e-9, "initial_multiplier": 0.0}


def test_starting_point_is_returned_when_nothing_is_feasible(data: Path, tmp_path: Path) -> None:
    spec = chain_spec(data, [[FIRST], [SECOND]], paper(**CARELESS, retreats=0))
    records, state = run(spec, data, tmp_path)
    first, second = records
    assert [candidate.feasible for candidate in second.candidates] == [True] + [False] * (len(second.candidates) - 1)
    assert second.accepted_step == 0
    assert not second.gained
    assert second.held
    verdict = second.verdict("first", "valid")
    assert verdict is not None
    assert (verdict.difference, verdict.standard_error) == (0.0, 0.0)
    assert second.losses == first.losses
    assert_identical(state, StageStore(str(tmp_path)).state(first.key))


def test_retreats_gain_without_breaking_a_limit(data: Path, tmp_path: Path) -> None:
    """The same steps; a point on the way to an infeasible one is returned, and keeps the strict rule."""
    spec = chain_spec(data, [[binary("first", 0.002)], [SECOND]], paper(**CARELESS, retreats=0))
    (_, without), _ = run(spec, data, tmp_path)
    spec = chain_spec(data, [[binary("first", 0.002)], [SECOND]], paper(**CARELESS, retreats=6))
    records, _ = run(spec, data, tmp_path)
    first, second = records
    assert second.rows == without.rows  # trying a point out moves nothing
    tried = [candidate for candidate in second.candidates if candidate.share < 1]
    assert any(candidate.accepted for candidate in tried)
    assert {candidate.share for candidate in tried} <= {0.5**n for n in range(1, 7)}
    assert second.losses["valid"]["second"] < min(first.losses["valid"]["second"], without.losses["valid"]["second"])
    assert_guarantee(spec, data, tmp_path, records)


def test_a_later_stage_gains_within_the_tolerance(data: Path, tmp_path: Path) -> None:
    """Strict acceptance, ε = 0.05: the second task falls, the first uses its tolerance and no more."""
    training = paper(
        max_epochs=12, patience=100, eta_theta=0.02, eta_lambda=3.0, initial_multiplier=0.0, accept_standard_errors=0.0
    )
    spec = chain_spec(data, [[binary("first", 0.05)], [SECOND]], training)
    (first, second), _ = run(spec, data, tmp_path)
    assert second.gained
    assert second.losses["valid"]["second"] < first.losses["valid"]["second"] - 0.02
    verdict = second.verdict("first", "valid")
    assert verdict is not None
    assert 0.0 < verdict.difference <= 0.05 == verdict.allowed


def test_record(data: Path, tmp_path: Path) -> None:
    spec = chain_spec(data, [[FIRST], [SECOND]], paper(**SHORT, eta_theta=0.05))
    recorder = Recorder()
    (first, second), _ = run(spec, data, tmp_path, recorder)
    assert (first.key, second.key) == spec.stage_keys()
    assert (first.parent, second.parent) == (None, first.key)
    assert (first.level, first.protected, second.level, second.protected) == (("first",), (), ("second",), ("first",))
    optimum = first.optima[0]
    assert (optimum.task, optimum.mode) == ("first", "train")
    assert optimum.train == first.losses["train"]["first"]
    assert optimum.valid == first.losses["valid"]["first"]
    store = StageStore(str(tmp_path))
    for split, value, samples in (
        ("train", optimum.train, optimum.train_samples),
        ("valid", optimum.valid, optimum.valid_samples),
    ):
        losses = row_losses(store.state(first.key), data, split, "first")
        assert value == pytest.approx(losses.mean(), rel=1e-5)
        assert samples == len(losses)
    assert first.optima[0].train == pytest.approx(
        np.mean([row.losses["first"] - row.violations["first"] for row in second.rows]), rel=1e-6
    )  # frozen: every violation compares with the recorded number
    assert (first.workers, first.steps_per_epoch, first.steps, first.samples) == (1, 6, 18, 540)
    assert set(first.metrics["test"]) == {"first", "second"}
    assert first.metric_names == {"first": "auc", "second": "auc"}
    kinds = ["StageStarted", "StageFinished", "StageStarted", "StageFinished"]
    assert recorder.kinds() == kinds
    started = [event for event in recorder.events if isinstance(event, StageStarted)]
    assert [(e.stage, e.key, e.level, e.protected, e.max_steps) for e in started] == [
        (0, first.key, ("first",), (), 18),
        (1, second.key, ("second",), ("first",), 18),
    ]
    finished = [event for event in recorder.events if isinstance(event, StageFinished)]
    assert [(event.record, event.reused) for event in finished] == [(first, False), (second, False)]


MODELS = ["scorer", "TwoTowers", "Noisy", "Normalised"]


def spec_with(model: str, data: Path, **training: Any) -> ChainSpec:
    name = model if model == "scorer" else f"tests.trainers._problems:{model}"
    options = {**SHORT, "eta_theta": 0.05, "max_epochs": 2, **training}
    return chain_spec(data, [[FIRST], [SECOND]], paper(**options), model=name)


@pytest.mark.parametrize("model", MODELS)
def test_running_again_trains_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    spec = spec_with(model, data)
    records, state = run(spec, data, tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr(nmt.trainers.stage.chain, "Stage", refuse)
    recorder = Recorder()
    again, same = run(spec, data, tmp_path, recorder)
    assert again == records
    assert_identical(same, state)
    assert [(type(event), getattr(event, "reused", None)) for event in recorder.events] == [(StageFinished, True)] * 2


@pytest.mark.parametrize("model", MODELS)
def test_resuming_ends_with_the_same_numbers(data: Path, tmp_path: Path, model: str) -> None:
    """The last stage's result is lost: computed again, it is the same to the last bit."""
    spec = spec_with(model, data)
    records, state = run(spec, data, tmp_path)
    shutil.rmtree(tmp_path / "stages" / records[-1].key)
    recorder = Recorder()
    again, same = run(spec, data, tmp_path, recorder)
    assert recorder.kinds() == ["StageFinished", "StageStarted", "StageFinished"]
    for one, other in zip(records, again, strict=True):
        assert_same_result(one, other)
    assert_identical(same, state)


@pytest.mark.parametrize("model", MODELS)
def test_the_key_determines_the_result(data: Path, tmp_path: Path, model: str) -> None:
    """Whatever random numbers the process drew before."""
    spec = spec_with(model, data)
    found = []
    for attempt in range(2):
        torch.manual_seed(attempt)
        found.append(run(spec, data, tmp_path / str(attempt)))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert_same_result(one, other)
    assert_identical(found[0][1], found[1][1])


@pytest.mark.parametrize("model", MODELS)
def test_what_is_recorded_is_what_was_accepted(data: Path, tmp_path: Path, model: str) -> None:
    """And the stored parameters are those of the candidate."""
    spec = spec_with(model, data, eta_theta=0.03)
    records, _ = run(spec, data, tmp_path)
    for record in records:
        accepted = [candidate for candidate in record.candidates if candidate.accepted][-1]
        assert accepted.step == record.accepted_step
        assert record.losses["valid"] == accepted.losses
        final = [verdict for verdict in record.verdicts if verdict.split == "valid"]
        assert tuple(replace(verdict, metric=None) for verdict in final) == accepted.verdicts
        assert all(verdict.metric is not None and verdict.metric.value > 0 for verdict in final)


def test_chains_share_their_prefix(data: Path, tmp_path: Path) -> None:
    """A sweep over η_λ trains the first stage once."""
    training = {**SHORT, "eta_theta": 0.05, "max_epochs": 1}
    kinds = []
    for eta_lambda in (0.1, 1.0):
        recorder = Recorder()
        spec = chain_spec(data, [[FIRST], [SECOND]], paper(**training, eta_lambda=eta_lambda))
        run(spec, data, tmp_path, recorder)
        kinds.append(recorder.kinds())
    assert kinds == [["StageStarted", "StageFinished"] * 2, ["StageFinished", "StageStarted", "StageFinished"]]
    assert len(list((tmp_path / "stages").iterdir())) == 3


def test_seed_changes_the_result(data: Path, tmp_path: Path) -> None:
    optima = set()
    for seed in (0, 1):
        spec = chain_spec(data, [[FIRST]], paper(**SHORT, seed=seed))
        optima.add(run(spec, data, tmp_path)[0][0].optima[0].train)
    assert len(optima) == 2


def test_ranking(tmp_path: Path) -> None:
    """The paper's search application in small: one score, pairs within lists, priorities pay, then amount."""
    data = ranking(tmp_path / "data")
    tasks = (Task("pay", "pairwise_logistic", tolerance=0.02), Task("amount", "pairwise_logistic"))
    training = paper(max_epochs=6, patience=100, eta_theta=0.03, eta_lambda=1.0, initial_multiplier=0.0)
    spec = chain_spec(data, [[tasks[0]], [tasks[1]]], training, batch_size=16)
    (pay, amount), _ = run(spec, data, tmp_path)
    assert pay.metrics["test"]["pay"] > 0.75
    assert amount.held
    assert amount.gained
    assert amount.losses["valid"]["amount"] < pay.losses["valid"]["amount"]
    assert pay.optima[0].train_samples > 60  # pairs, not lists
