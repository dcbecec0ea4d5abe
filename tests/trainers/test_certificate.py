"""The certificate of a stage: closed forms, real gradients, several workers, and what is told from λ's history."""

from __future__ import annotations

import dataclasses
import doctest
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import trainers.certificate
import trainers.stage_certificate
from tests.trainers._asserts import assert_close, assert_identical
from tests.trainers._problems import (
    Recorder,
    binary,
    chain_spec,
    conflict,
    feed_and_model,
    paper,
    record,
    three_bowls,
    two_bowls,
)
from tests.trainers._workers import Workers
from trainers.certificate import Certificate, feasibility, gradient_norm, not_attainable, slackness, stationarity
from trainers.chain import run_chain
from trainers.evaluation import evaluate
from trainers.full_gradient import full_gradients
from trainers.losses.task_losses import TaskLosses
from trainers.multipliers import Multipliers
from trainers.records import Optimum, Row, StageRecord
from trainers.stage_certificate import certify
from trainers.stage_store import StageStore

nan = math.nan
FIRST, SECOND, THIRD = binary("first", 0.01), binary("second"), binary("third")


def gradients(bowls: Callable[[Tensor], Tensor], *point: float) -> Tensor:
    """Gradient of every bowl, shape ``(bowls, parameters)``."""
    found = torch.func.jacrev(bowls)(torch.tensor(point, dtype=torch.float64))
    assert isinstance(found, Tensor)
    return found


class TestClosedForms:
    @pytest.mark.parametrize(
        ("bowls", "point", "multipliers"),
        [
            (two_bowls, (0.2, 2.0), (4.0,)),
            (two_bowls, (0.05, 2.0), (19.0,)),
            (three_bowls, (0.2, 0.0, 0.0), (4.0,)),
            (three_bowls, (0.2, 0.2, 3.0), (20.0, 4.0)),
        ],
    )
    def test_saddles_of_the_bowls_are_optimal(self, bowls: Any, point: Any, multipliers: Any) -> None:
        """method.md, section 10: ε = x², and in the third stage (x − 1)² + y² is 0.04 above its optimum 0.64."""
        price = torch.tensor(multipliers, dtype=torch.float64)
        rows = gradients(bowls, *point)
        objective, protected = rows[len(price)], rows[: len(price)]
        assert stationarity(objective, protected, price) < 1e-15
        assert gradient_norm(objective, protected, price) < 1e-13
        losses = bowls(torch.tensor(point, dtype=torch.float64)).tolist()
        for loss, optimum, price_of_it in zip(losses, (0.0, 0.64), multipliers, strict=False):
            tolerance = point[0] ** 2
            assert feasibility(loss, optimum, tolerance) < 1e-15
            assert slackness(price_of_it, loss, optimum, tolerance) < 1e-13

    def test_away_from_the_saddle(self) -> None:
        """At (1, 0) with λ = 2 the gradients are (2, 0) and (0, −4): ‖(4, −4)‖ over 4 + 2 · 2."""
        protected, objective = gradients(two_bowls, 1.0, 0.0)
        price = torch.tensor([2.0], dtype=torch.float64)
        assert gradient_norm(objective, protected[None], price) == pytest.approx(math.sqrt(32), rel=1e-15)
        assert stationarity(objective, protected[None], price) == pytest.approx(math.sqrt(0.5), rel=1e-15)
        assert feasibility(1.0, 0.0, 0.04) == pytest.approx(0.96, rel=1e-15)
        assert slackness(2.0, 1.0, 0.0, 0.04) == pytest.approx(1.92, rel=1e-15)

    def test_a_constraint_that_is_met_and_has_a_price(self) -> None:
        assert feasibility(0.3, 0.5, 0.1) == 0.0
        assert slackness(2.0, 0.3, 0.5, 0.1) == pytest.approx(0.6, rel=1e-15)
        assert slackness(0.0, 0.3, 0.5, 0.1) == 0.0

    def test_without_constraints(self) -> None:
        """One gradient is balanced by nothing, unless it is 0."""
        nothing = torch.zeros(0, 2), torch.zeros(0)
        assert stationarity(torch.tensor([3.0, 4.0]), *nothing) == 1.0
        assert gradient_norm(torch.tensor([3.0, 4.0]), *nothing) == 5.0
        assert stationarity(torch.zeros(2), *nothing) == 0.0

    def test_scale_of_losses_and_parameters_does_not_matter(self) -> None:
        objective, protected = torch.randn(5), torch.randn(2, 5)
        price = torch.tensor([0.5, 3.0])
        value = stationarity(objective, protected, price)
        assert 0.0 < value < 1.0
        assert stationarity(1e3 * objective, 1e3 * protected, price) == pytest.approx(value, rel=1e-6)
        assert stationarity(objective, 1e3 * protected, price / 1e3) == pytest.approx(value, rel=1e-6)
        assert stationarity(objective, protected[[1, 0]], price[[1, 0]]) == pytest.approx(value, rel=1e-6)

    def test_what_is_not_finite_stays_so(self) -> None:
        """A number that is not known must not pass for an optimum."""
        assert math.isnan(feasibility(nan, 0.5, 0.1))
        assert math.isnan(slackness(1.0, nan, 0.5, 0.1))
        assert math.isnan(slackness(nan, 0.5, 0.5, 0.1))
        one = torch.ones(1, 2)
        assert math.isnan(stationarity(torch.tensor([nan, 1.0]), one, torch.tensor([1.0])))
        assert math.isnan(stationarity(torch.ones(2), one, torch.tensor([nan])))

    def test_examples_of_the_docstrings(self) -> None:
        assert doctest.testmod(trainers.certificate).failed == 0
        assert doctest.testmod(trainers.certificate).attempted > 0


Trajectory = tuple[list[str], list[int], list[list[float]], list[list[float]]]


def descent(
    losses: Callable[[Tensor], Tensor], optima: list[float], *start: float, steps: int = 600, noise: float = 0.0,
    tolerance: float = 0.0, eta_theta: float = 0.1, eta_lambda: float = 1.0, seed: int = 0,
) -> Trajectory:  # fmt: skip
    """What No More Tuning does on a function, with noise added to the losses that λ sees; what its rows would hold."""
    draw = torch.Generator().manual_seed(seed)
    theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    multipliers = Multipliers(optima, eta_lambda, tolerance)
    values, violations = [], []
    for _ in range(steps):
        found = losses(theta)
        (gradient,) = torch.autograd.grad(multipliers.combine(found), theta)
        seen = found.detach() + noise * torch.randn(len(found), generator=draw, dtype=torch.float64)
        with torch.no_grad():
            theta -= eta_theta * gradient
            violations.append(multipliers.violations(seen).tolist())
            multipliers.ascend(seen)
        values.append(multipliers.values.tolist())
    return [str(place) for place in range(len(optima))], list(range(1, steps + 1)), values, violations


def opposed(theta: Tensor) -> Tensor:
    """Two protected tasks that cannot both be at 0, and a third."""
    x, y = theta
    return torch.stack([(x - 1) ** 2, (x + 1) ** 2, (y - 1) ** 2])


class TestNotAttainable:
    def test_an_optimum_that_no_parameters_reach(self) -> None:
        """x² ≤ −0.5: λ rises for ever, and the violation stays at 0.5."""
        assert not_attainable(*descent(two_bowls, [-0.5], 0.0, 0.0)) == ("0",)

    def test_two_tasks_that_exclude_each_other(self) -> None:
        assert not_attainable(*descent(opposed, [0.0, 0.0], 0.0, 0.0)) == ("0", "1")

    def test_a_constraint_with_tolerance_is_met(self) -> None:
        rows = descent(two_bowls, [0.0], 0.0, 0.0, tolerance=0.04)
        assert rows[2][-1] == pytest.approx([4.0], abs=0.05)
        assert not_attainable(*rows) == ()

    @pytest.mark.parametrize("steps", [200, 600, 2000])
    def test_without_tolerance_a_rising_multiplier_alone_is_no_verdict(self, steps: int) -> None:
        """λ grows like (1 + 3 η_λ t)^{1/3} − 1 and the violation shrinks all the time."""
        rows = descent(two_bowls, [0.0], 0.0, 0.0, steps=steps)
        assert rows[2][-1][0] > 1.1 * rows[2][2 * steps // 3][0]
        assert not_attainable(*rows) == ()

    def test_a_multiplier_that_hardly_moves_is_no_verdict(self) -> None:
        """A higher η_λ would bring the task back; the optimum is within reach."""
        rows = descent(two_bowls, [0.0], 0.5, 2.0, eta_lambda=1e-5)
        assert rows[2][-1] > rows[2][-200]
        assert rows[3][-1] == pytest.approx(rows[3][-200], rel=1e-2)
        assert not_attainable(*rows) == ()

    def test_a_task_that_is_better_than_its_optimum(self) -> None:
        assert not_attainable(*descent(two_bowls, [10.0], 0.0, 0.0)) == ()

    @pytest.mark.parametrize("seed", range(5))
    def test_noise_of_the_minibatches(self, seed: int) -> None:
        """Noise that is small beside the violation changes nothing; a violation that drowns in it gets no verdict."""
        assert not_attainable(*descent(two_bowls, [-0.5], 0.0, 0.0, noise=0.1, seed=seed)) == ("0",)
        assert not_attainable(*descent(two_bowls, [0.0], 0.0, 0.0, noise=0.02, seed=seed)) == ()
        assert not_attainable(*descent(two_bowls, [0.0], 0.0, 0.0, noise=1.0, seed=seed)) == ()

    def test_too_few_rows(self) -> None:
        names, _, multipliers, violations = descent(two_bowls, [-0.5], 0.0, 0.0, steps=40)
        found = {
            count: not_attainable(names, list(range(1, count + 1)), multipliers[:count], violations[:count])
            for count in (0, 1, 2, 33, 34)
        }
        assert found == {0: (), 1: (), 2: (), 33: (), 34: ("0",)}

    def test_nothing_protected(self) -> None:
        assert not_attainable([], [1, 2, 3], [[], [], []], [[], [], []]) == ()

    def test_nan_is_no_verdict(self) -> None:
        names, steps, multipliers, violations = descent(opposed, [0.0, 0.0], 0.0, 0.0)
        violations[-3][0] = nan
        assert not_attainable(names, steps, multipliers, violations) == ("1",)
        multipliers[-1][1] = nan
        assert not_attainable(names, steps, multipliers, violations) == ()


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
        found = full_gradients(model, feed, spec.tasks, losses, coefficients, batches)
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
            found = full_gradients(model, feed, spec.tasks, losses, torch.eye(2), 6)
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
    losses = TaskLosses(spec.tasks)
    evaluation = evaluate(model, feed, "train", spec.tasks, losses, mode="train")
    optima = [Optimum(name, 0.6, 150, 0.6, 100) for name in ("first", "second")]
    certificate = certify(
        model, feed, [THIRD], [FIRST, SECOND], optima, {"first": 0.5, "second": 3.0}, losses, evaluation, [],
        spec.training,
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
        monkeypatch.setattr(trainers.stage_certificate, "MOST_TERMS", 1)
        bound = certified(0, 1, str(data), 180)
        assert (exact["grouped"], bound["grouped"]) == (0, 2)
        assert bound["gradient_norm"] == pytest.approx(exact["gradient_norm"], rel=1e-12)
        assert exact["stationarity"] < bound["stationarity"] <= 1

    def test_terms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those with the largest λ alone, in that order; λ = 0 not at all; one that is not finite is not lost."""
        terms = trainers.stage_certificate._terms
        price = torch.tensor([2.0, 0.0, 5.0, 1.0], dtype=torch.float64)
        objective = torch.tensor([1.0, 0.5], dtype=torch.float64)
        coefficients, weights, grouped = terms(price, objective)
        assert coefficients.tolist() == [
            [0, 0, 1, 0, 0, 0],
            [1, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 0.5],
        ]
        assert (weights.tolist(), grouped) == ([5, 2, 1], 0)
        monkeypatch.setattr(trainers.stage_certificate, "MOST_TERMS", 2)
        coefficients, weights, grouped = terms(price, objective)
        assert coefficients.tolist() == [[0, 0, 1, 0, 0, 0], [2, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0.5]]
        assert (weights.tolist(), grouped) == ([5, 1], 2)
        assert terms(torch.tensor([nan], dtype=torch.float64), objective)[0].shape == (2, 3)
        assert terms(torch.zeros(0, dtype=torch.float64), objective)[0].tolist() == [[1, 0.5]]


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


CERTIFICATE = Certificate({"first": 0.0}, {"first": 0.5}, {"first": 2.5}, 0.125, 0.25, ("first",), 64, 0)


class TestRecord:
    def test_round_trip(self) -> None:
        full = record(certificate=CERTIFICATE)
        assert StageRecord.from_json(full.to_json()) == full
        empty = Certificate({}, {}, {}, 1.0, 0.25, (), 64)
        assert StageRecord.from_json(record(certificate=empty).to_json()).certificate == empty

    def test_numbers_that_are_not_finite(self) -> None:
        lost = dataclasses.replace(CERTIFICATE, stationarity=nan, slackness={"first": math.inf})
        text = record(certificate=lost).to_json()
        assert "NaN" not in text
        assert "Infinity" not in text
        read = StageRecord.from_json(text).certificate
        assert read is not None
        assert math.isnan(read.stationarity)
        assert math.isnan(read.slackness["first"])
        assert read.not_attainable == ("first",)

    def test_a_record_of_before(self) -> None:
        """A stage that an older program finished is reused, without a certificate."""
        content = json.loads(record().to_json())
        assert content.pop("certificate") is None
        assert StageRecord.from_json(json.dumps(content)) == record()
        assert StageRecord.from_json(record().to_json()).certificate is None


def test_the_verdict_reads_the_rows_of_a_record() -> None:
    """A stage whose λ rises while its violation stays, as the history has it."""
    names, steps, multipliers, violations = descent(opposed, [0.0, 0.0], 0.0, 0.0, steps=60)
    rows = tuple(
        Row(step, {}, dict(zip(names, violation, strict=True)), dict(zip(names, price, strict=True)))
        for step, price, violation in zip(steps, multipliers, violations, strict=True)
    )
    read = StageRecord.from_json(record(rows=rows).to_json()).rows
    again = [[list(part.values()) for part in (row.multipliers, row.violations)] for row in read]
    assert not_attainable(names, [row.step for row in read], *zip(*again, strict=True)) == ("0", "1")
