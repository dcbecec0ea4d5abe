"""Full gradients, and the certificate of a stage that real gradients give: one worker, several, and a whole chain."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import nmt.trainers.evaluation.stage_certificate
from nmt.trainers.certificate import Certificate
from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.full_gradient import full_gradients
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.stage_certificate import certify
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.records import Optimum, StageRecord
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close, assert_identical
from tests.trainers._problems import (
    Recorder,
    binary,
    chain_spec,
    conflict,
    feed_and_model,
    paper,
)
from tests.trainers._workers import Workers

nan = math.nan

FIRST, SECOND, THIRD = binary("first", 0.01), binary("second"), binary("third")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("certificate") / "conflict")


def gradients_from_the_files(state: dict[str, Tensor], data: Path, rows: NDArray[np.int64], task: str) -> Any:
    """∇ of the mean cross-entropy of a linear score over some rows: mean of (σ(s) − y) (x, 1)."""
    table = pq.read_table(data / "train")
    x = np.stack([table[name].to_numpy() for name in ("x", "y", "z")], 1).astype(np.float64)[rows]
    x = np.c_[(x - 0.1) / 1.2, np.ones(len(x))]
    weight = np.r_[state["layers.0.weight"].double().numpy()[0], state["layers.0.bias"].double().numpy()]
    label = table[task].to_numpy(zero_copy_only=False).astype(np.float64)[rows]
    labelled = ~np.isnan(label)
    residual = 1 / (1 + np.exp(-x[labelled] @ weight)) - label[labelled]
    return (residual[:, None] * x[labelled]).mean(0)


class TestFullGradients:
    @pytest.mark.parametrize("batches", [1, 2, 6])
    def test_they_are_those_of_the_mean_losses(self, data: Path, batches: int) -> None:
        spec = chain_spec(data, [[FIRST], [SECOND]], paper())
        feed, model = feed_and_model(spec, data)
        losses = TaskLosses(spec.tasks)
        coefficients = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
        found = full_gradients(Learner(model, feed, losses), spec.tasks, coefficients, batches)
        rows = torch.cat([batch.index for batch, _ in zip(feed.epoch(0, 0), range(batches), strict=False)]).numpy()
        first, second = (
            gradients_from_the_files(dict(model.state_dict()), data, rows, task) for task in ("first", "second")
        )
        assert_close(found[:, -4:], np.stack([first, 0.5 * first + 2 * second]), 1e-6)
        assert not found[:, :-4].any()  # the embedding of a data set without ids
        whole = gradients_from_the_files(dict(model.state_dict()), data, np.arange(180), "first")
        assert (np.abs(whole - first).max() < 1e-12) == (batches == 6)

    @pytest.mark.parametrize("name", ["TwoTowers", "Normalised", "Noisy"])
    @pytest.mark.parametrize("training", [True, False])
    def test_nothing_is_left_behind(self, data: Path, name: str, training: bool) -> None:
        """Buffers, gradients, switches and modes are those of before; parameters that are frozen stay out."""
        spec = chain_spec(data, [[FIRST], [SECOND]], paper(), model=f"tests.trainers._problems:{name}")
        feed, model = feed_and_model(spec, data)
        model.train(training)
        frozen, *rest = model.parameters()
        frozen.requires_grad_(False)
        for parameter in rest:
            parameter.grad = torch.randn_like(parameter)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        kept = [parameter.grad.clone() for parameter in rest if parameter.grad is not None]
        losses = TaskLosses(spec.tasks)
        with torch.no_grad():
            found = full_gradients(Learner(model, feed, losses), spec.tasks, torch.eye(2), 6)
        assert found.shape == (2, sum(parameter.numel() for parameter in rest))
        assert bool(found.any())
        assert not found.requires_grad
        assert_identical(model.state_dict(), before)
        assert frozen.grad is None
        for parameter, gradient in zip(rest, kept, strict=True):
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, gradient)
        assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * len(rest)
        assert all(module.training == training for module in model.modules())


def certified(rank: int, workers: int, folder: str, examples: int) -> dict[str, Any]:
    """The certificate of a stage that protects two tasks, at the initial parameters."""
    options = {"units": 4, "double": True}
    spec = chain_spec(
        Path(folder), [[FIRST], [SECOND], [THIRD]], paper(certificate_examples=examples),
        model="tests.trainers._problems:TwoTowers", **options,
    )  # fmt: skip
    feed, model = feed_and_model(spec, Path(folder), rank, workers)
    learner = Learner(model, feed, TaskLosses(spec.tasks))
    evaluation = evaluate(learner, "train", mode="train")
    optima = [Optimum(name, 0.6, 150, 0.6, 100) for name in ("first", "second")]
    certificate = certify(
        learner, spec.stages[2], optima, {"first": 0.5, "second": 3.0}, evaluation, [], 12
    )  # fmt: skip
    return dataclasses.asdict(certificate)


def certified_on_a_part_and_on_all(rank: int, workers: int, folder: str) -> list[dict[str, Any]]:
    return [certified(rank, workers, folder, examples) for examples in (50, 180)]


class TestCertify:
    def test_numbers_of_a_stage(self, data: Path) -> None:
        found = Certificate(**certified(0, 1, str(data), 16_384))
        spec = chain_spec(data, [[FIRST], [SECOND], [THIRD]], paper(), model="tests.trainers._problems:TwoTowers")
        assert found.shadow_prices == {"first": 0.5, "second": 3.0}
        assert (found.examples, found.grouped, found.not_attainable) == (180, 0, ())
        assert 0 < found.stationarity < 1
        assert set(found.feasibility) == {task.name for task in spec.tasks[:2]}
        excess = {"first": found.slackness["first"] / 0.5, "second": found.slackness["second"] / 3.0}
        assert found.feasibility == pytest.approx(excess, rel=1e-12)  # both are violated here

    @pytest.mark.parametrize(("examples", "measured"), [(1, 32), (32, 32), (33, 64), (160, 160), (161, 180)])
    def test_whole_global_batches_are_measured(self, data: Path, examples: int, measured: int) -> None:
        assert certified(0, 1, str(data), examples)["examples"] == measured

    def test_without_examples_there_is_no_gradient(self, data: Path) -> None:
        found, whole = certified(0, 1, str(data), 0), certified(0, 1, str(data), 180)
        assert found["examples"] == 0
        assert math.isnan(found["stationarity"])
        assert math.isnan(found["gradient_norm"])
        assert found["feasibility"] == whole["feasibility"]

    def test_two_workers_measure_what_one_measures(self, data: Path, workers: Workers) -> None:
        """On the whole split and on a part of it: the same examples, whoever holds them."""
        alone = certified_on_a_part_and_on_all(0, 1, str(data))
        first, second = workers.run(2, certified_on_a_part_and_on_all, str(data))
        assert first == second
        for one, two in zip(alone, first, strict=True):
            for name in ("feasibility", "slackness"):  # sample losses are added up in single precision
                assert two[name] == pytest.approx(one[name], rel=1e-6)
            for name in ("stationarity", "gradient_norm", "examples"):
                assert two[name] == pytest.approx(one[name], rel=1e-9)
        assert [found["examples"] for found in first] == [64, 180]
        assert first[0]["stationarity"] != pytest.approx(first[1]["stationarity"], rel=1e-3)

    def test_many_tasks_share_a_gradient(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The numerator stays exact, and the quotient becomes larger, never smaller."""
        exact = certified(0, 1, str(data), 180)
        monkeypatch.setattr(nmt.trainers.evaluation.stage_certificate, "MOST_TERMS", 1)
        bound = certified(0, 1, str(data), 180)
        assert (exact["grouped"], bound["grouped"]) == (0, 2)
        assert bound["gradient_norm"] == pytest.approx(exact["gradient_norm"], rel=1e-12)
        assert exact["stationarity"] < bound["stationarity"] <= 1

    def test_its_work_is_a_share_of_the_steps_where_tasks_are_many(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two tasks are never cut. Beyond them: three backward passes a batch, and a quarter of 12 steps is three."""
        assert certified(0, 1, str(data), 180)["examples"] == 180
        monkeypatch.setattr(nmt.trainers.evaluation.stage_certificate, "FREE_TERMS", 1)
        assert certified(0, 1, str(data), 180)["examples"] == 32

    def test_terms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those with the largest λ alone, in that order; λ = 0 not at all; one that is not finite is not lost."""
        terms = nmt.trainers.evaluation.stage_certificate._terms
        price = torch.tensor([2.0, 0.0, 5.0, 1.0], dtype=torch.float64)
        objective = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 0.5], dtype=torch.float64)
        coefficients, weights, grouped = terms(price, objective)
        assert coefficients.tolist() == [
            [0, 0, 1, 0, 0, 0],
            [1, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 0.5],
        ]
        assert (weights.tolist(), grouped) == ([5, 2, 1], 0)
        monkeypatch.setattr(nmt.trainers.evaluation.stage_certificate, "MOST_TERMS", 2)
        coefficients, weights, grouped = terms(price, objective)
        assert coefficients.tolist() == [[0, 0, 1, 0, 0, 0], [2, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0.5]]
        assert (weights.tolist(), grouped) == ([5, 1], 2)
        assert terms(torch.tensor([nan], dtype=torch.float64), objective[3:])[0].shape == (2, 3)
        assert terms(torch.zeros(0, dtype=torch.float64), objective[4:])[0].tolist() == [[1, 0.5]]

    def test_a_task_that_is_minimised_within_a_limit_of_its_own_is_in_both(self) -> None:
        """Of a live model: its gradient with λ, and its weight in the objective's."""
        price, objective = torch.tensor([2.0], dtype=torch.float64), torch.tensor([1.0, 0.5], dtype=torch.float64)
        coefficients, weights, _ = nmt.trainers.evaluation.stage_certificate._terms(price, objective)
        assert coefficients.tolist() == [[1, 0], [1, 0.5]]
        assert weights.tolist() == [2]


def chain(data: Path, storage: Path, examples: int) -> tuple[tuple[StageRecord, ...], dict[str, Tensor]]:
    """A chain of two stages, and the parameters that it returns."""
    training = paper(
        optimizer="sgd", eta_theta=0.5, eta_lambda=1.0, max_epochs=4, patience=100, certificate_examples=examples
    )
    spec = chain_spec(data, [[FIRST], [SECOND]], training)
    feed, model = feed_and_model(spec, data)
    store = StageStore(str(storage))
    found = run_chain(spec, model, feed, store, Recorder())
    assert [store.read(one.key) for one in found] == list(found)
    return found, dict(model.state_dict())


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[StageRecord, ...], dict[str, Tensor]]:
    return chain(data, tmp_path_factory.mktemp("store"), 16_384)


@pytest.fixture(scope="module")
def records(finished: tuple[tuple[StageRecord, ...], dict[str, Tensor]]) -> tuple[StageRecord, ...]:
    return finished[0]


class TestChain:
    """``stage.py`` and ``chain.py`` put it together."""

    def test_a_stage_that_protects_nothing(self, records: tuple[StageRecord, ...]) -> None:
        certificate = records[0].certificate
        assert certificate is not None
        assert (certificate.feasibility, certificate.slackness, certificate.shadow_prices) == ({}, {}, {})
        assert certificate.stationarity == pytest.approx(1.0, rel=1e-6)
        assert 0 < certificate.gradient_norm < 1
        assert certificate.examples == 180

    def test_a_stage_that_protects_a_task(self, records: tuple[StageRecord, ...]) -> None:
        first, second = records
        certificate = second.certificate
        assert certificate is not None
        excess = second.losses["train"]["first"] - first.optima[0].train - 0.01
        price = second.multipliers["first"]
        assert certificate.shadow_prices == {"first": price}
        assert certificate.feasibility == {"first": max(0.0, excess)}
        assert certificate.slackness == {"first": price * abs(excess)}
        assert 0 < certificate.stationarity < 1

    def test_stationarity_is_that_of_the_returned_model(
        self, finished: tuple[tuple[StageRecord, ...], dict[str, Tensor]], data: Path
    ) -> None:
        """Computed from the files, without the engine."""
        (_, second), state = finished
        protected, objective = (
            gradients_from_the_files(state, data, np.arange(180), task) for task in ("first", "second")
        )
        price = second.multipliers["first"]
        norm = np.linalg.norm(objective + price * protected)
        whole = np.linalg.norm(objective) + price * np.linalg.norm(protected)
        assert second.certificate is not None
        assert second.certificate.gradient_norm == pytest.approx(norm, rel=1e-4)
        assert second.certificate.stationarity == pytest.approx(norm / whole, rel=1e-4)

    def test_keys_and_results_do_not_depend_on_it(
        self, records: tuple[StageRecord, ...], data: Path, tmp_path: Path
    ) -> None:
        for one, other in zip(records, chain(data, tmp_path, 0)[0], strict=True):
            assert one.key == other.key
            assert (one.losses, one.rows, one.candidates) == (other.losses, other.rows, other.candidates)
