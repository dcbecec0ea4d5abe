from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nmt.trainers.metrics.accuracy import Accuracy
from nmt.trainers.metrics.auc import AUC
from nmt.trainers.metrics.grouped_auc import GroupedAUC
from nmt.trainers.metrics.pair_accuracy import PairAccuracy
from nmt.trainers.metrics.rmse import RootMeanSquaredError
from nmt.trainers.registry import LOSSES, METRIC_OF_LOSS, METRICS, resolve
from tests.trainers._problems import lists_batch, rows_batch

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
        """A logit is not transformed, whatever the other logits of its minibatch."""
        one = torch.tensor([0.1, 0.2]), torch.tensor([1.0, 1.0])
        two = torch.tensor([-1.0, 3.0]), torch.tensor([0.0, 0.0])
        assert auc(one, two) == 0.5

    def test_large_logits_are_told_apart(self) -> None:
        """In single precision the logistic function is 1 from 17 on; larger logits still have an order."""
        score, label = torch.tensor([20.0, 25.0, 30.0, 35.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
        assert auc((score, label)) == pytest.approx(0.75, abs=1e-6)

    def test_batches_without_labels(self) -> None:
        empty = torch.randn(3), torch.full((3,), nan)
        full = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 0.0, 1.0])
        assert auc(empty, full, empty) == 1.0

    @pytest.mark.parametrize("labels", [[0.3, 0.9, 1.0, 0.0], [0.0, 1.0, 2.0, 1.0]])
    def test_labels_other_than_two_classes(self, labels: list[float]) -> None:
        """Probabilities and further classes are not rounded to 0 and 1: their AUC is undefined."""
        assert math.isnan(auc((torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor(labels))))

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
        """A padded position has score 0; it must not win or lose against real items."""
        assert self.measure(torch.tensor([-1.0, -2.0, 5.0]), torch.tensor([1.0, 0.0, 1.0]), (2, 1)) == 1.0

    def test_adds_up_over_batches(self) -> None:
        metric = PairAccuracy()
        for score in ([1.0, 0.0], [0.0, 1.0], [3.0, 1.0]):
            label = torch.tensor([1.0, 0.0])
            metric.update(torch.tensor(score), label, lists_batch(label[:, None], (2,)))
        assert float(metric.compute()) == pytest.approx(2 / 3)

    def test_without_pairs_it_is_undefined(self) -> None:
        assert math.isnan(self.measure(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), (2,)))


def naive_grouped_auc(score: Sequence[float], label: Sequence[float], lengths: Sequence[int]) -> float:
    """Return the mean AUC over lists with both classes, weighted by labelled rows."""
    total = weight = start = 0.0
    for length in lengths:
        rows = [i for i in range(int(start), int(start) + length) if not math.isnan(label[i])]
        if {label[i] for i in rows} == {0, 1}:
            total += len(rows) * naive_auc([score[i] for i in rows], [label[i] for i in rows])
            weight += len(rows)
        start += length
    return total / weight


class TestGroupedAUC:
    def measure(self, *parts: tuple[Tensor, Tensor, Sequence[int]]) -> float:
        metric = GroupedAUC()
        for score, label, lengths in parts:
            metric.update(score, label, lists_batch(label[:, None], lengths, spare=1))
        return float(metric.compute())

    @pytest.mark.parametrize("ties", [False, True])
    def test_against_loops(self, ties: bool) -> None:
        lengths = (40, 1, 25, 2, 90, 30)
        score = torch.randn(188)
        label = (score + torch.randn(188) > 0).float()
        label[::7] = nan
        label[66:68] = torch.tensor([1.0, 0.0])
        label[-30:] = 1.0
        if ties:
            score = score.round()
        expected = naive_grouped_auc(score.tolist(), label.tolist(), lengths)
        assert 0.6 < expected < 0.95
        assert self.measure((score, label, lengths)) == pytest.approx(expected, abs=1e-12)
        parts = (score[:66], label[:66], lengths[:3]), (score[66:], label[66:], lengths[3:])
        assert self.measure(*parts) == pytest.approx(expected, abs=1e-12)

    def test_weights_are_labelled_rows(self) -> None:
        """Lists of 2 and 4 labelled rows with AUC 1 and 5/8; an unlabelled row and a list of one class do not count."""
        score = torch.tensor([2.0, 1.0, 9.0, 1.0, 2.0, 3.0, 3.0, 5.0, 6.0])
        label = torch.tensor([1.0, 0.0, nan, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
        assert self.measure((score, label, (3, 4, 2))) == pytest.approx((2 * 1 + 4 * 0.625) / 6, abs=1e-12)

    def test_one_list_gives_the_auc(self) -> None:
        score, label = torch.randn(60), torch.randint(0, 2, (60,)).float()
        assert self.measure((score, label, (60,))) == pytest.approx(auc((score, label)), abs=1e-6)

    def test_other_lists_do_not_matter(self) -> None:
        """Scores that differ between lists but not within them are worth one half."""
        score = torch.tensor([-9.0, -9.0, -9.0, 9.0, 9.0, 9.0])
        label = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
        assert auc((score, label)) == pytest.approx(6 / 9)
        assert self.measure((score, label, (3, 3))) == 0.5

    def test_scores_that_single_precision_tells_apart(self) -> None:
        score = torch.tensor([1e30, 2e30, -1e30, 1.0, 1.0 + 2**-23])
        label = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0])
        assert self.measure((score, label, (3, 2))) == 1.0

    @pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, 0.0], [nan, 1.0], [nan, nan]])
    def test_without_both_classes_it_is_undefined(self, labels: list[float]) -> None:
        assert math.isnan(self.measure((torch.tensor([1.0, 0.0]), torch.tensor(labels), (2,))))
        assert math.isnan(self.measure((torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), (1, 1))))

    def test_a_nan_score_is_not_ranked(self) -> None:
        both = torch.tensor([0.0, 1.0, 0.0])
        assert math.isnan(self.measure((torch.tensor([1.0, nan, 0.0]), both, (3,))))
        unlabelled = torch.tensor([0.0, nan, 1.0])
        assert self.measure((torch.tensor([1.0, nan, 2.0]), unlabelled, (3,))) == 1.0

    def test_further_classes_make_it_undefined(self) -> None:
        assert math.isnan(self.measure((torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 2.0]), (3,))))

    def test_without_lists(self) -> None:
        label = torch.tensor([1.0, 0.0])
        with pytest.raises(
            ValueError, match="grouped_auc compares rows of one list, and this data set has no query col"
        ):
            GroupedAUC().update(label, label, rows_batch(label[:, None]))


class TestAccuracy:
    def measure(self, *parts: tuple[Tensor, Tensor]) -> float:
        metric = Accuracy()
        for output, label in parts:
            metric.update(output, label, rows_batch(label[:, None]))
        return float(metric.compute())

    def test_of_one_logit_against_loops(self) -> None:
        output, label = torch.randn(50), torch.randint(0, 2, (50,)).float()
        label[::6] = nan
        right = [(s > 0) == (y == 1) for s, y in zip(output.tolist(), label.tolist(), strict=True) if y == y]
        assert self.measure((output, label)) == pytest.approx(sum(right) / len(right), abs=1e-15)

    def test_of_classes_against_loops(self) -> None:
        output, label = torch.randn(50, 4), torch.randint(0, 4, (50,)).float()
        label[::6] = nan
        rows = zip(output.tolist(), label.tolist(), strict=True)
        right = [max(range(4), key=logits.__getitem__) == y for logits, y in rows if y == y]
        assert 0 < sum(right) < len(right)
        assert self.measure((output, label)) == pytest.approx(sum(right) / len(right), abs=1e-15)
        parts = (output[:7], label[:7]), (output[7:], label[7:])
        assert self.measure(*parts) == pytest.approx(sum(right) / len(right), abs=1e-15)

    def test_logits_that_look_like_probabilities(self) -> None:
        """0.3 is above 0, whatever the other logits of its minibatch."""
        assert self.measure((torch.tensor([0.3, 0.4]), torch.tensor([1.0, 1.0]))) == 1.0

    def test_classes_that_never_occur_do_not_matter(self) -> None:
        """Every row has the same weight; a mean over classes would be (0 + 1) / 2."""
        output = torch.tensor([[0.0, 1.0, 0.0, 0.0]] * 4)
        assert self.measure((output, torch.tensor([1.0, 1.0, 1.0, 2.0]))) == 0.75

    @pytest.mark.parametrize("shape", [(3,), (3, 4)])
    def test_undefined(self, shape: tuple[int, ...]) -> None:
        output, label = torch.randn(shape), torch.tensor([0.0, 1.0, nan])
        assert math.isnan(self.measure((output, torch.full((3,), nan))))
        broken = output.clone()
        broken.view(-1)[0] = nan
        assert math.isnan(self.measure((broken, label)))
        assert self.measure((broken.flip(0), label)) == self.measure((output.flip(0), label))  # the row has no label


class TestRootMeanSquaredError:
    def measure(self, *parts: tuple[Tensor, Tensor]) -> float:
        metric = RootMeanSquaredError()
        for output, label in parts:
            metric.update(output, label, rows_batch(label[:, None]))
        return float(metric.compute())

    def test_against_loops(self) -> None:
        output, label = torch.randn(50), torch.randn(50)
        label[::6] = nan
        squares = [(s - y) ** 2 for s, y in zip(output.tolist(), label.tolist(), strict=True) if y == y]
        expected = math.sqrt(sum(squares) / len(squares))
        assert self.measure((output, label)) == pytest.approx(expected, rel=1e-14)
        assert self.measure((output[:9], label[:9]), (output[9:], label[9:])) == pytest.approx(expected, rel=1e-14)

    def test_sums_are_in_double_precision(self) -> None:
        """In single precision, 2²⁴ + 1 is 2²⁴: the rows after the first would be lost."""
        first = torch.tensor([4096.0]), torch.tensor([0.0])
        later = torch.ones(1), torch.zeros(1)
        assert self.measure(first, *[later] * 15) == math.sqrt((2**24 + 15) / 16)

    def test_undefined(self) -> None:
        assert math.isnan(self.measure((torch.randn(2), torch.tensor([nan, nan]))))
        assert math.isnan(self.measure((torch.tensor([nan, 1.0]), torch.zeros(2))))
        assert self.measure((torch.tensor([nan, 3.0]), torch.tensor([nan, 0.0]))) == 3.0


@pytest.mark.parametrize("name", ["auc", "grouped_auc", "pair_accuracy", "rmse"])
def test_class_logits_are_refused_where_one_value_is_needed(name: str) -> None:
    label = torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="one value per row is needed, and the model's output has 3"):
        resolve("metric", name, METRICS)().update(torch.zeros(2, 3), label, lists_batch(label[:, None], (2,)))


def test_every_loss_has_a_default_metric() -> None:
    assert list(METRIC_OF_LOSS) == list(LOSSES)
    assert set(METRIC_OF_LOSS.values()) <= set(METRICS)
    assert (METRIC_OF_LOSS["cross_entropy"], METRIC_OF_LOSS["squared_error"]) == ("accuracy", "rmse")
