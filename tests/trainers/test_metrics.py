from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.trainers._problems import lists_batch, rows_batch
from trainers.metrics.auc import AUC
from trainers.metrics.pair_accuracy import PairAccuracy

nan = math.nan


def naive_auc(score: Sequence[float], label: Sequence[float]) -> float:
    """Share of (positive, negative) pairs in the right order; a tie counts half."""
    wins = [(p > n) + 0.5 * (p == n) for p, a in zip(score, label, strict=True) if a == 1
            for n, b in zip(score, label, strict=True) if b == 0]  # fmt: skip
    return sum(wins) / len(wins)


def auc(*parts: tuple[Tensor, Tensor]) -> float:
    metric = AUC()
    for score, label in parts:
        metric.update(score, label, rows_batch(label[:, None]))
    return float(metric.compute())


class TestAUC:
    @pytest.mark.parametrize("ties", [False, True])
    def test_against_pairs(self, ties: bool) -> None:
        score = torch.randn(200)
        label = (score + torch.randn(200) > 0).float()
        label[::7] = nan
        if ties:
            score = score.round()
        expected = naive_auc(score.tolist(), label.tolist())
        assert 0.6 < expected < 0.95
        assert auc((score, label)) == pytest.approx(expected, abs=1e-6)
        assert auc((score[:50], label[:50]), (score[50:], label[50:])) == pytest.approx(expected, abs=1e-6)

    def test_a_batch_whose_logits_look_like_probabilities(self) -> None:
        """Every logit counts as it is, whatever the others of its minibatch are."""
        one = torch.tensor([0.1, 0.2]), torch.tensor([1.0, 1.0])
        two = torch.tensor([-1.0, 3.0]), torch.tensor([0.0, 0.0])
        assert auc(one, two) == 0.5

    def test_large_logits_are_told_apart(self) -> None:
        """In single precision the logistic function is 1 from 17 on; the order of logits goes further."""
        score, label = torch.tensor([20.0, 25.0, 30.0, 35.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
        assert auc((score, label)) == pytest.approx(0.75, abs=1e-6)

    def test_batches_without_labels(self) -> None:
        empty = torch.randn(3), torch.full((3,), nan)
        full = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 0.0, 1.0])
        assert auc(empty, full, empty) == 1.0

    def test_reversed_scores(self) -> None:
        assert auc((torch.tensor([-2.0, 3.0]), torch.tensor([1.0, 0.0]))) == 0.0


class TestPairAccuracy:
    def measure(self, score: Tensor, label: Tensor, lengths: Sequence[int]) -> float:
        metric = PairAccuracy()
        metric.update(score, label, lists_batch(label[:, None], lengths, spare=1))
        return float(metric.compute())

    def test_against_loops(self) -> None:
        lengths = (4, 1, 6, 3)
        score, label = torch.randn(14).round(), torch.randn(14).mul(2).round()
        label[::5] = nan
        wins: list[float] = []
        start = 0
        for length in lengths:
            rows = range(start, start + length)
            wins += [
                float(score[i] > score[j]) + 0.5 * float(score[i] == score[j])
                for i in rows
                for j in rows
                if label[i] > label[j]
            ]
            start += length
        assert 0.5 in wins
        assert self.measure(score, label, lengths) == pytest.approx(sum(wins) / len(wins), abs=1e-12)

    def test_a_tie_counts_half(self) -> None:
        assert self.measure(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]), (2,)) == 0.5

    def test_padding_is_no_item(self) -> None:
        """A padded place has score 0; it must not win or lose against real items."""
        assert self.measure(torch.tensor([-1.0, -2.0, 5.0]), torch.tensor([1.0, 0.0, 1.0]), (2, 1)) == 1.0

    def test_adds_up_over_batches(self) -> None:
        metric = PairAccuracy()
        for score in ([1.0, 0.0], [0.0, 1.0], [3.0, 1.0]):
            label = torch.tensor([1.0, 0.0])
            metric.update(torch.tensor(score), label, lists_batch(label[:, None], (2,)))
        assert float(metric.compute()) == pytest.approx(2 / 3)

    def test_without_pairs_it_is_undefined(self) -> None:
        assert math.isnan(self.measure(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), (2,)))
