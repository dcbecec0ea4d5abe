from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.trainers._asserts import assert_close
from tests.trainers._problems import binary, lists_batch, rows_batch
from trainers.data.batch import Batch
from trainers.losses.binary_cross_entropy import binary_cross_entropy
from trainers.losses.pairwise_logistic import pairwise_logistic
from trainers.losses.samples import Samples
from trainers.losses.task_losses import TaskLosses
from trainers.task import Task

nan = math.nan
LENGTHS = (4, 1, 7, 3)
ROWS = sum(LENGTHS)


def bce(score: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-score))
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


def pair_loss(preferred: float, other: float) -> float:
    return math.log(1 + math.exp(-(preferred - other)))


def naive_pairs(
    score: Sequence[float], label: Sequence[float], lengths: Sequence[int]
) -> tuple[list[float], list[int]]:
    """Sum and number of pair losses of each list."""
    sums, counts, start = [], [], 0
    for length in lengths:
        rows = range(start, start + length)
        losses = [pair_loss(score[i], score[j]) for i in rows for j in rows if label[i] > label[j]]
        sums.append(sum(losses))
        counts.append(len(losses))
        start += length
    return sums, counts


def random_labels(tasks: int, kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(ROWS, tasks, generator=generator)
    labels = (values > 0).float() if kind == "binary" else (values * 2).round()  # with ties
    labels[torch.rand(ROWS, tasks, generator=generator) < 0.2] = nan
    return labels


class TestBinaryCrossEntropy:
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


class TestPairwiseLogistic:
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
        """Of one pair: −σ(−(s_i − s_j)) for the preferred item, and the opposite for the other."""
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


def squared_error(output: Tensor, label: Tensor, batch: Batch, scale: float = 1.0) -> Samples:
    """A user's own loss."""
    labelled = ~label.isnan()
    return Samples(scale * (output.expand_as(label) - label.nan_to_num()) ** 2 * labelled, labelled.to(output.dtype))


class TestTaskLosses:
    tasks = (
        binary("a"),
        Task("p", "pairwise_logistic"),
        binary("b"),
        Task("q", "pairwise_logistic"),
    )

    def test_mixed_losses_come_in_the_order_asked_for(self) -> None:
        label = random_labels(4, "binary")
        batch = lists_batch(label, LENGTHS)
        outputs = {task.name: torch.randn(ROWS, dtype=torch.float64) for task in self.tasks}
        functions = {"binary_cross_entropy": binary_cross_entropy, "pairwise_logistic": pairwise_logistic}
        losses = TaskLosses(self.tasks)
        for order in ((0, 1, 2, 3), (3, 0, 2), (2, 0), (1,), (3, 2, 1, 0)):
            samples = losses(outputs, batch, [self.tasks[column] for column in order])
            assert samples.sums.shape == (len(LENGTHS), len(order))
            for place, column in enumerate(order):
                task = self.tasks[column]
                one = functions[task.loss](outputs[task.name][:, None], label[:, column : column + 1], batch)
                assert_close(samples.sums[:, place], one.sums[:, 0], 1e-12)
                assert torch.equal(samples.counts[:, place], one.counts[:, 0])

    def test_shared_and_separate_outputs_agree(self) -> None:
        label = random_labels(4, "binary")
        batch = lists_batch(label, LENGTHS)
        score = torch.randn(ROWS, dtype=torch.float64)
        losses = TaskLosses(self.tasks)
        shared = losses(dict.fromkeys([task.name for task in self.tasks], score), batch, self.tasks)
        separate = losses({task.name: score.clone() for task in self.tasks}, batch, self.tasks)
        assert_close(shared.sums, separate.sums, 1e-12)
        assert torch.equal(shared.counts, separate.counts)

    def test_own_loss_with_options(self) -> None:
        path = f"{__name__}:squared_error"
        tasks = (Task("a", path), Task("b", path, options={"scale": 10.0}))
        label = torch.tensor([[1.0, 1.0], [nan, 0.0]])
        outputs = {"a": torch.zeros(2), "b": torch.zeros(2)}
        samples = TaskLosses(tasks)(outputs, rows_batch(label), tasks)
        assert samples.sums.tolist() == [[1.0, 10.0], [0.0, 0.0]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_outputs_are_measured_in_single(self, dtype: torch.dtype) -> None:
        label = torch.ones(2, 1)
        samples = TaskLosses([binary("a")])({"a": torch.zeros(2, dtype=dtype)}, rows_batch(label), [binary("a")])
        assert samples.sums.dtype == torch.float32
        assert_close(samples.sums, [[math.log(2)]] * 2, 1e-6)

    def test_missing_output(self) -> None:
        with pytest.raises(ValueError, match=r"no output for task 'a'; its outputs are \['b'\]"):
            TaskLosses([binary("a")])({"b": torch.zeros(1)}, rows_batch(torch.ones(1, 1)), [binary("a")])

    def test_output_of_the_wrong_length(self) -> None:
        with pytest.raises(ValueError, match=r"output for task 'a' has shape \(3,\), expected .* each of 2 rows"):
            TaskLosses([binary("a")])({"a": torch.zeros(3)}, rows_batch(torch.ones(2, 1)), [binary("a")])

    def test_output_with_a_column_too_many(self) -> None:
        """A binary task wants one logit a row: (rows, 1), the commonest slip, must not broadcast to (rows, rows)."""
        with pytest.raises(ValueError, match=r"'a' has shape \(2, 1\)"):
            TaskLosses([binary("a")])({"a": torch.zeros(2, 1)}, rows_batch(torch.ones(2, 1)), [binary("a")])

    def test_unknown_loss(self) -> None:
        task = Task("a", "binary_cross_entropie")
        with pytest.raises(
            ValueError, match=r"unknown loss 'binary_cross_entropie' \(did you mean 'binary_cross_entropy'"
        ):
            TaskLosses([task])
