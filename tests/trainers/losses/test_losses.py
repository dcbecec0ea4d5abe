"""Each loss on its own: formulas, lists, extreme values, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from nmt.trainers.losses.binary_cross_entropy import binary_cross_entropy
from nmt.trainers.losses.cross_entropy import cross_entropy
from nmt.trainers.losses.pairwise_logistic import pairwise_logistic
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.squared_error import squared_error
from tests.trainers._asserts import assert_close
from tests.trainers._labels import LENGTHS, ROWS, random_labels
from tests.trainers._problems import lists_batch, rows_batch
from tests.trainers.losses._properties import LossProperties

nan = math.nan


def bce(score: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-score))
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


def ce(logits: Sequence[float], label: int) -> float:
    return -math.log(math.exp(logits[label]) / sum(math.exp(logit) for logit in logits))


def pair_loss(preferred: float, other: float) -> float:
    return math.log(1 + math.exp(-(preferred - other)))


def naive_pairs(
    score: Sequence[float], label: Sequence[float], lengths: Sequence[int]
) -> tuple[list[float], list[int]]:
    """Return the sum and the number of pair losses of each list."""
    sums, counts, start = [], [], 0
    for length in lengths:
        rows = range(start, start + length)
        losses = [pair_loss(score[i], score[j]) for i in rows for j in rows if label[i] > label[j]]
        sums.append(sum(losses))
        counts.append(len(losses))
        start += length
    return sums, counts


class TestBinaryCrossEntropy(LossProperties):
    loss = staticmethod(binary_cross_entropy)
    labels = "binary"

    def test_of_rows(self) -> None:
        label = torch.tensor([[1.0, nan], [0.0, 1.0], [nan, nan], [1.0, 0.0]])
        output = torch.tensor([[0.3, 9.0], [-1.2, 2.5], [7.0, -7.0], [-0.5, 0.0]], dtype=torch.float64)
        samples = binary_cross_entropy(output, label, rows_batch(label))
        expected = [[bce(0.3, 1), 0.0], [bce(-1.2, 0), bce(2.5, 1)], [0.0, 0.0], [bce(-0.5, 1), bce(0.0, 0)]]
        assert_close(samples.sums, expected, 1e-12)
        assert samples.counts.tolist() == [[1, 0], [1, 1], [0, 0], [1, 1]]

    def test_inside_lists(self) -> None:
        label, output = random_labels(2, "binary"), torch.randn(ROWS, 2, dtype=torch.float64)
        samples = binary_cross_entropy(output, label, lists_batch(label, LENGTHS))
        start = 0
        for example, length in enumerate(LENGTHS):
            for task in range(2):
                rows = [i for i in range(start, start + length) if not label[i, task].isnan()]
                total = sum(bce(float(output[i, task]), float(label[i, task])) for i in rows)
                assert_close(samples.sums[example, task], total, 1e-12)
                assert int(samples.counts[example, task]) == len(rows)
            start += length

    def test_one_score_of_several_tasks(self) -> None:
        label = random_labels(3, "binary")
        output = torch.randn(ROWS, 1, dtype=torch.float64)
        shared = binary_cross_entropy(output, label, rows_batch(label))
        separate = binary_cross_entropy(output.repeat(1, 3), label, rows_batch(label))
        assert torch.equal(shared.sums, separate.sums)
        assert torch.equal(shared.counts, separate.counts)

    def test_extreme_logits(self) -> None:
        label = torch.tensor([[1.0], [0.0], [nan]])
        output = torch.tensor([[-1e4], [1e4], [1e30]], requires_grad=True)
        samples = binary_cross_entropy(output, label, rows_batch(label))
        assert samples.sums.tolist() == [[1e4], [1e4], [0.0]]
        samples.sums.sum().backward()
        assert output.grad is not None
        assert output.grad.tolist() == [[-1.0], [1.0], [0.0]]


class TestPairwiseLogistic(LossProperties):
    loss = staticmethod(pairwise_logistic)
    labels = "real"
    only_lists = True

    @pytest.mark.parametrize("kind", ["binary", "real"])
    @pytest.mark.parametrize("spare", [0, 2])
    def test_against_loops(self, kind: str, spare: int) -> None:
        label, output = random_labels(3, kind), torch.randn(ROWS, 3, dtype=torch.float64)
        samples = pairwise_logistic(output, label, lists_batch(label, LENGTHS, spare))
        assert samples.sums.shape == samples.counts.shape == (len(LENGTHS), 3)
        for task in range(3):
            sums, counts = naive_pairs(output[:, task].tolist(), label[:, task].tolist(), LENGTHS)
            assert_close(samples.sums[:, task], sums, 1e-12)
            assert samples.counts[:, task].tolist() == counts
            assert sum(counts) > 0

    def test_lists_without_a_pair_have_no_sample(self) -> None:
        label = torch.tensor([[1.0], [1.0], [2.0], [nan], [nan], [nan], [5.0]])
        output = torch.randn(7, 1, requires_grad=True)
        samples = pairwise_logistic(output, label, lists_batch(label, (2, 2, 2, 1)))
        assert samples.sums.tolist() == [[0.0]] * 4
        assert samples.counts.tolist() == [[0.0]] * 4
        samples.sums.sum().backward()
        assert output.grad is not None
        assert output.grad.tolist() == [[0.0]] * 7

    def test_equal_scores(self) -> None:
        label = torch.tensor([[1.0], [0.0]])
        samples = pairwise_logistic(torch.zeros(2, 1), label, lists_batch(label, (2,)))
        assert_close(samples.sums, [[math.log(2)]], 1e-6)

    def test_one_score_of_several_tasks(self) -> None:
        label, output = random_labels(3, "real"), torch.randn(ROWS, 1, dtype=torch.float64)
        batch = lists_batch(label, LENGTHS)
        shared, separate = pairwise_logistic(output, label, batch), pairwise_logistic(output.repeat(1, 3), label, batch)
        assert_close(shared.sums, separate.sums, 1e-12)
        assert torch.equal(shared.counts, separate.counts)

    def test_gradient(self) -> None:
        """For one pair: −σ(−(s_i − s_j)) for the preferred item, the negative of it for the other."""
        label = torch.tensor([[1.0], [0.0], [nan]])
        output = torch.tensor([[0.2], [0.7], [3.0]], dtype=torch.float64, requires_grad=True)
        pairwise_logistic(output, label, lists_batch(label, (3,), spare=1)).sums.sum().backward()
        slope = 1 / (1 + math.exp(0.2 - 0.7))
        assert output.grad is not None
        assert_close(output.grad, [[-slope], [slope], [0.0]], 1e-12)

    @pytest.mark.parametrize("size", [1e4, 1e30])
    def test_gradients_are_finite_at_extreme_scores(self, size: float) -> None:
        label = torch.tensor([[1.0], [0.0], [0.0], [nan]])
        output = (size * torch.tensor([[-1.0], [1.0], [-2.0], [5.0]])).requires_grad_()
        samples = pairwise_logistic(output, label, lists_batch(label, (4,), spare=2))
        samples.sums.sum().backward()
        assert output.grad is not None
        assert bool(samples.sums.isfinite().all())
        assert output.grad.tolist() == [[-1.0], [1.0], [0.0], [0.0]]

    def test_without_lists(self) -> None:
        label = torch.tensor([[1.0], [0.0]])
        with pytest.raises(ValueError, match="this data set has no query column"):
            pairwise_logistic(torch.zeros(2, 1), label, rows_batch(label))


class TestCrossEntropy(LossProperties):
    loss = staticmethod(cross_entropy)
    labels = "classes"
    classes = 4

    def test_of_rows(self) -> None:
        label = torch.tensor([[2.0, nan], [0.0, 1.0], [nan, nan]])
        output = torch.randn(3, 2, 3, dtype=torch.float64)
        samples = cross_entropy(output, label, rows_batch(label))
        first, second = output[0].tolist(), output[1].tolist()
        assert_close(samples.sums, [[ce(first[0], 2), 0.0], [ce(second[0], 0), ce(second[1], 1)], [0.0, 0.0]], 1e-12)
        assert samples.counts.tolist() == [[1, 0], [1, 1], [0, 0]]

    def test_inside_lists(self) -> None:
        label, output = random_labels(2, "classes"), torch.randn(ROWS, 2, 4, dtype=torch.float64)
        samples = cross_entropy(output, label, lists_batch(label, LENGTHS))
        start = 0
        for example, length in enumerate(LENGTHS):
            for task in range(2):
                rows = [i for i in range(start, start + length) if not label[i, task].isnan()]
                total = sum(ce(output[i, task].tolist(), int(label[i, task])) for i in rows)
                assert_close(samples.sums[example, task], total, 1e-12)
                assert int(samples.counts[example, task]) == len(rows)
            start += length

    def test_one_row_of_logits_of_several_tasks(self) -> None:
        label = random_labels(3, "classes")
        output = torch.randn(ROWS, 1, 4, dtype=torch.float64)
        shared = cross_entropy(output, label, rows_batch(label))
        separate = cross_entropy(output.repeat(1, 3, 1), label, rows_batch(label))
        assert_close(shared.sums, separate.sums, 1e-14)
        assert torch.equal(shared.counts, separate.counts)

    def test_two_classes_equal_binary_cross_entropy_of_the_difference(self) -> None:
        label, output = random_labels(2, "binary"), torch.randn(ROWS, 2, 2, dtype=torch.float64)
        batch = rows_batch(label)
        difference = output[..., 1] - output[..., 0]
        assert_close(
            cross_entropy(output, label, batch).sums, binary_cross_entropy(difference, label, batch).sums, 1e-12
        )

    def test_gradient(self) -> None:
        """softmax(s) − one-hot(y), and 0 where there is no label."""
        label = torch.tensor([[1.0], [nan]])
        output = torch.tensor([[[0.0, math.log(3), 0.0]], [[5.0, 1.0, 1.0]]], dtype=torch.float64, requires_grad=True)
        cross_entropy(output, label, rows_batch(label)).sums.sum().backward()
        assert output.grad is not None
        assert_close(output.grad, [[[0.2, 0.6 - 1, 0.2]], [[0.0, 0.0, 0.0]]], 1e-12)

    def test_extreme_logits(self) -> None:
        label = torch.tensor([[1.0], [nan]])
        output = torch.tensor([[[1e4, 0.0]], [[-3e38, 3e38]]], requires_grad=True)
        samples = cross_entropy(output, label, rows_batch(label))
        assert samples.sums.tolist() == [[1e4], [0.0]]
        samples.sums.sum().backward()
        assert output.grad is not None
        assert output.grad.tolist() == [[[1.0, -1.0]], [[0.0, 0.0]]]

    def test_one_logit_per_row_is_refused(self) -> None:
        label = torch.tensor([[1.0], [0.0]])
        with pytest.raises(ValueError, match=r"shape \(rows, classes\); the model's output has shape \(2,\)"):
            cross_entropy(torch.zeros(2, 1), label, rows_batch(label))


class TestSquaredError(LossProperties):
    loss = staticmethod(squared_error)
    labels = "real"

    def test_of_rows(self) -> None:
        label = torch.tensor([[1.5, nan], [-2.0, 0.25], [nan, nan]])
        output = torch.tensor([[1.0, 9.0], [2.0, 0.0], [7.0, -7.0]], dtype=torch.float64)
        samples = squared_error(output, label, rows_batch(label))
        assert samples.sums.tolist() == [[0.25, 0.0], [16.0, 0.0625], [0.0, 0.0]]
        assert samples.counts.tolist() == [[1, 0], [1, 1], [0, 0]]

    def test_inside_lists(self) -> None:
        label, output = random_labels(2, "real"), torch.randn(ROWS, 2, dtype=torch.float64)
        samples = squared_error(output, label, lists_batch(label, LENGTHS))
        start = 0
        for example, length in enumerate(LENGTHS):
            for task in range(2):
                rows = [i for i in range(start, start + length) if not label[i, task].isnan()]
                total = sum((float(output[i, task]) - float(label[i, task])) ** 2 for i in rows)
                assert_close(samples.sums[example, task], total, 1e-12)
                assert int(samples.counts[example, task]) == len(rows)
            start += length

    def test_one_prediction_of_several_tasks(self) -> None:
        label, output = random_labels(3, "real"), torch.randn(ROWS, 1, dtype=torch.float64)
        shared = squared_error(output, label, rows_batch(label))
        separate = squared_error(output.repeat(1, 3), label, rows_batch(label))
        assert torch.equal(shared.sums, separate.sums)
        assert torch.equal(shared.counts, separate.counts)

    def test_gradient_without_a_label(self) -> None:
        """The square of an unlabelled row may overflow, and infinity times 0 would be NaN."""
        label = torch.tensor([[1.0], [nan]])
        output = torch.tensor([[3.0], [1e30]], requires_grad=True)
        samples = squared_error(output, label, rows_batch(label))
        samples.sums.sum().backward()
        assert samples.sums.tolist() == [[4.0], [0.0]]
        assert output.grad is not None
        assert output.grad.tolist() == [[4.0], [0.0]]


@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
def test_an_output_that_is_no_number_shows_where_there_is_a_label(loss: Callable[..., Samples]) -> None:
    label = torch.tensor([[1.0], [0.0], [nan]])
    output = torch.zeros((3, 1, 2) if loss is cross_entropy else (3, 1))
    output[1:] = nan
    assert loss(output, label, rows_batch(label)).sums.isnan().tolist() == [[False], [True], [False]]


@pytest.mark.parametrize("loss", [binary_cross_entropy, squared_error, pairwise_logistic])
def test_class_logits_are_refused_where_one_value_is_needed(loss: Callable[..., Samples]) -> None:
    label = torch.tensor([[1.0], [0.0]])
    with pytest.raises(ValueError, match=r"one value per row is needed, and the model's output has 2; .*cross_entr"):
        loss(torch.zeros(2, 1, 2), label, lists_batch(label, (2,)))
