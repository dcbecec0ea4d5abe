"""Differences of metrics: DeLong's variance, the paired bootstrap, and verdicts in both currencies."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchmetrics import Metric

from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.acceptance import metric_deviation
from nmt.trainers.evaluation.metric_difference import DRAWS, compare_metric
from nmt.trainers.evaluation.outputs import SplitOutputs, gather_outputs, join_outputs
from nmt.trainers.metrics.delong import compare_auc
from nmt.trainers.records import StageRecord, Verdict
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

FIRST, SECOND = binary("first", 0.01), binary("second")


def scores(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, and two correlated scores of the same rows with ties."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.3).astype(float)
    signal = label + rng.normal(size=rows)
    one, other = (np.round(signal + 0.7 * rng.normal(size=rows), 1) for _ in range(2))
    return torch.tensor(label), torch.tensor(one), torch.tensor(other)


def delong_by_definition(label: Tensor, one: Tensor, other: Tensor) -> float:
    """Equation 6 of DeLong et al. with all pairs written out."""
    placements = []
    for score in (one, other):
        x, y = score[label == 1], score[label == 0]
        wins = (x[:, None] > y).double() + 0.5 * (x[:, None] == y).double()
        placements.append((wins.mean(1), wins.mean(0)))
    (v10, v01), (w10, w01) = placements
    s10, s01 = (np.cov(np.stack(pair)) for pair in ((v10, w10), (v01, w01)))
    contrast = np.array([1.0, -1.0])
    return float(np.sqrt(contrast @ (s10 / len(v10) + s01 / len(v01)) @ contrast))


class TestDeLong:
    @pytest.mark.parametrize("seed", range(5))
    def test_values_and_error(self, seed: int) -> None:
        label, one, other = scores(120, seed)
        auc, reference, error = compare_auc(label, one, other)
        assert auc == pytest.approx(roc_auc_score(label, one), abs=1e-12)
        assert reference == pytest.approx(roc_auc_score(label, other), abs=1e-12)
        assert error == pytest.approx(delong_by_definition(label, one, other), rel=1e-9)

    def test_missing_labels_are_left_out(self) -> None:
        label, one, other = scores(60)
        gaps = torch.cat([label, torch.full((9,), math.nan)])
        padded = [torch.cat([score, torch.randn(9).double()]) for score in (one, other)]
        assert compare_auc(gaps, *padded) == compare_auc(label, one, other)

    def test_the_same_scores_have_no_error(self) -> None:
        label, one, _ = scores(80)
        auc, reference, error = compare_auc(label, one, one)
        assert auc == reference
        assert error == 0

    @pytest.mark.parametrize("broken", ["one class", "nan"])
    def test_where_it_is_undefined(self, broken: str) -> None:
        label, one, other = scores(20)
        if broken == "one class":
            label = torch.ones_like(label)
        else:
            one[3] = math.nan
        assert all(math.isnan(value) for value in compare_auc(label, one, other))

    def test_the_error_is_that_of_repeated_draws(self) -> None:
        """400 draws of rows: the spread of the differences is the error that DeLong's formula gives, within a tenth."""
        found = [compare_auc(*scores(300, seed)) for seed in range(400)]
        spread = np.std([one - other for one, other, _ in found])
        assert np.mean([error for *_, error in found]) == pytest.approx(spread, rel=0.1)


def outputs_of(task: str, output: Tensor, label: Tensor, lengths: Tensor | None = None) -> SplitOutputs:
    return SplitOutputs({task: output}, {task: label}, lengths)


class Spread(Metric):
    """A user's own metric, which is no ratio of sums: the range of the scores of positive rows."""

    full_state_update = False
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, label: Tensor, batch: Batch) -> None:
        self.values.append(output[label == 1])  # type: ignore[operator, union-attr]

    def compute(self) -> Tensor:
        values = torch.cat(list(self.values))  # type: ignore[arg-type]
        return values.max() - values.min()


class TestBootstrap:
    def test_rmse_against_the_delta_method(self) -> None:
        rng = np.random.default_rng(1)
        label, noise = torch.tensor(rng.normal(size=2000)), torch.tensor(rng.normal(size=(2, 2000)))
        one, other = label + noise[0], label + 0.5 * noise[0] + noise[1]
        task = Task("size", "squared_error")
        found = compare_metric(task, outputs_of("size", one, label), other)
        assert found is not None
        squares = [(score - label).square() for score in (one, other)]
        roots = [float(square.mean().sqrt()) for square in squares]
        assert (found.value, found.reference) == pytest.approx(tuple(roots))
        influence = squares[0] / (2 * roots[0]) - squares[1] / (2 * roots[1])
        assert found.standard_error == pytest.approx(float(influence.std()) / 2000**0.5, rel=4 / (2 * DRAWS) ** 0.5)
        assert found.sign == -1

    def test_lists_are_drawn_whole(self) -> None:
        """Every list is there twice as a list of its own, so the error falls by the root of two and not by more."""
        rng = np.random.default_rng(2)
        lengths = torch.tensor(rng.integers(2, 7, 200))
        rows = int(lengths.sum())
        label = torch.tensor(rng.integers(0, 3, rows)).double()
        one, other = (label + 2 * torch.tensor(rng.normal(size=rows)) for _ in range(2))
        task = Task("pay", "pairwise_logistic")
        found = compare_metric(task, outputs_of("pay", one, label, lengths), other)
        twice = compare_metric(
            task, outputs_of("pay", one.repeat(2), label.repeat(2), lengths.repeat(2)), other.repeat(2)
        )
        assert found is not None
        assert twice is not None
        assert twice.value == pytest.approx(found.value)
        assert twice.standard_error == pytest.approx(found.standard_error / 2**0.5, rel=0.15)

    def test_a_metric_of_a_users_own(self) -> None:
        label, one, other = scores(150)
        task = Task("own", "binary_cross_entropy", metric=f"{__name__}:Spread")
        found = compare_metric(task, outputs_of("own", one, label), other)
        assert found is not None
        assert found.value == pytest.approx(float(one[label == 1].max() - one[label == 1].min()))
        assert found.standard_error > 0
        assert found.sign == -1
        assert compare_metric(task, outputs_of("own", one, label), other) == found  # the draws have a fixed seed

    def test_a_task_without_a_metric(self) -> None:
        label, one, other = scores(20)
        task = Task("own", f"{__name__}:Spread")
        assert compare_metric(task, outputs_of("own", one, label), other) is None


class TestRule:
    @pytest.mark.parametrize(("errors", "held"), [(0.0, False), (3.0, True)])
    def test_auc_may_fall_by_its_standard_errors(self, errors: float, held: bool) -> None:
        label, one, _ = scores(400)
        worse = one + 0.2 * torch.randn(400, generator=torch.Generator().manual_seed(1))
        found = metric_deviation(FIRST, outputs_of("first", worse, label), one, errors)
        assert found is not None
        assert found.difference < 0
        assert found.held is held
        assert found.allowed == errors * found.standard_error

    def test_a_lower_error_is_better(self) -> None:
        label = torch.zeros(50)
        small, large = (torch.full((50,), value) for value in (0.1, 0.2))
        task = Task("size", "squared_error")
        better = metric_deviation(task, outputs_of("size", small, label), large, 0.0)
        worse = metric_deviation(task, outputs_of("size", large, label), small, 0.0)
        assert better is not None
        assert worse is not None
        assert better.held
        assert not worse.held

    def test_a_verdict_without_a_metric_goes_by_the_loss(self) -> None:
        verdict = Verdict("first", "valid", 0.5, 0.6, 0.1, 0.01, 0.01, held=False)
        assert replace(verdict, accept_on="metric").kept is False
        assert verdict.kept is verdict.held


def parts_of_workers(rank: int, workers: int, lists: bool) -> Any:
    """Outputs of this worker's examples: row values tell where a row comes from."""
    lengths = torch.tensor([3, 1, 2, 2, 4]) if lists else torch.ones(5, dtype=torch.int64)
    values = [torch.arange(int(n)) + 10.0 * example for example, n in enumerate(lengths)]
    mine = range(rank, 5, workers)
    parts = [outputs_of("first", values[i], -values[i], lengths[i : i + 1] if lists else None) for i in mine]
    found = gather_outputs(join_outputs(parts), ["first"])
    return None if found is None else (found.outputs["first"].tolist(), found.labels["first"].tolist(), found.lengths)


@pytest.mark.parametrize("lists", [False, True])
def test_rows_of_all_workers_are_in_the_order_of_the_examples(workers: Workers, lists: bool) -> None:
    alone = parts_of_workers(0, 1, lists)
    for count in (2, 3):
        first, *others = workers.run(count, parts_of_workers, lists)
        assert others == [None] * (count - 1)
        assert first[:2] == alone[:2]
        assert (first[2] is None) == (not lists)
        if lists:
            assert first[2].tolist() == [3, 1, 2, 2, 4]


def run(data: Path, storage: Path, **training: Any) -> tuple[StageRecord, ...]:
    spec = chain_spec(data, [[FIRST], [SECOND]], paper(eta_theta=0.05, max_epochs=4, patience=100, **training))
    feed, model = feed_and_model(spec, data)
    return run_chain(spec, model, feed, StageStore(str(storage)), Recorder())


class TestChain:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return conflict(tmp_path / "conflict")

    def test_a_finished_stage_has_verdicts_in_both_currencies(self, data: Path, tmp_path: Path) -> None:
        first, second = run(data, tmp_path)
        for split in ("valid", "test"):
            verdict = second.verdict("first", split)
            assert verdict is not None
            assert verdict.metric is not None
            assert verdict.metric.quantity == "auc"
            assert verdict.metric.value == pytest.approx(second.metrics[split]["first"], abs=1e-6)
            assert verdict.metric.reference == pytest.approx(first.metrics[split]["first"], abs=1e-6)
            assert verdict.metric.standard_error > 0
        assert StageRecord.from_json(second.to_json()) == second

    def test_accepted_by_the_metric(self, data: Path, tmp_path: Path) -> None:
        """Candidates whose loss is within its limit are refused where the metric is not."""
        free = {"eta_lambda": 1e-9, "initial_multiplier": 0.0, "retreats": 0}
        _, second = run(data, tmp_path, accept_on="metric", accept_standard_errors=2.0, **free)
        assert {verdict.accept_on for verdict in second.verdicts} == {"metric"}
        for candidate in second.candidates:
            (verdict,) = candidate.verdicts
            assert verdict.metric is not None
            assert candidate.feasible == (candidate.step == 0 or verdict.metric.held)
        assert second.held == all(v.metric is not None and v.metric.held for v in second.verdicts if v.split == "valid")
        assert any(candidate.verdicts[0].held and not candidate.feasible for candidate in second.candidates)

    def test_a_task_without_a_metric_is_refused(self, data: Path) -> None:
        own = Task("first", "nmt.trainers.losses.binary_cross_entropy:binary_cross_entropy")
        spec = chain_spec(data, [[own], [SECOND]], paper(accept_on="metric"))
        with pytest.raises(ValueError, match=r"accept_on: metric needs a metric of every task .* and first have none"):
            spec.check()
