"""Properties of every loss, whatever its formula."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.samples import Samples
from tests.trainers._asserts import assert_close, no_host_synchronisation
from tests.trainers._labels import LENGTHS, ROWS, random_labels
from tests.trainers._problems import lists_batch, rows_batch

nan = math.nan


class LossProperties:
    """Tests to inherit for each loss.

    Attributes:
        loss: The loss, wrapped in ``staticmethod``.
        labels: Kind of labels, as in :func:`~tests.trainers._labels.random_labels`: binary, real or classes.
        classes: Logits per row, if there is more than one.
        only_lists: Whether the loss compares rows of one list, and refuses data without a query column.
    """

    loss: Callable[..., Samples]
    labels: str
    classes: int | None = None
    only_lists: bool = False

    def outputs(self, tasks: int, rows: int = ROWS, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return random outputs, shape ``(rows, tasks)`` or ``(rows, tasks, classes)``."""
        shape = (rows, tasks) if self.classes is None else (rows, tasks, self.classes)
        return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(7))

    def batches(self, label: Tensor) -> list[Batch]:
        """Return the labels in lists, and as rows without a query column if the loss takes them."""
        lists = [lists_batch(label, LENGTHS), lists_batch(label, LENGTHS, spare=2)]
        return lists if self.only_lists else [*lists, rows_batch(label)]

    def test_counts_follow_from_the_labels_alone(self) -> None:
        """``count_with`` gives the counts that the loss returns."""
        label = random_labels(3, self.labels)
        count: Any = getattr(self.loss, "counts", None)
        assert count is not None, "mark the loss with count_with"
        for batch in self.batches(label):
            samples = self.loss(self.outputs(3), label, batch)
            assert samples.sums.shape == samples.counts.shape == (batch.examples, 3)
            assert torch.equal(count(label, batch).double(), samples.counts.double())
            assert samples.counts.sum() > 0

    def test_one_output_of_several_tasks(self) -> None:
        label = random_labels(3, self.labels)
        output = self.outputs(1)
        for batch in self.batches(label):
            shared = self.loss(output, label, batch)
            separate = self.loss(output.repeat_interleave(3, 1), label, batch)
            assert_close(shared.sums, separate.sums, 1e-12)
            assert torch.equal(shared.counts, separate.counts)

    def test_tasks_do_not_mix(self) -> None:
        label, output = random_labels(3, self.labels), self.outputs(3)
        for batch in self.batches(label):
            together = self.loss(output, label, batch)
            for task in range(3):
                alone = self.loss(output[:, [task]], label[:, [task]], batch)
                assert_close(together.sums[:, [task]], alone.sums, 1e-12)
                assert torch.equal(together.counts[:, [task]], alone.counts)

    def test_a_missing_label_has_no_loss_and_no_gradient(self) -> None:
        """Whatever the output of its row is."""
        label = random_labels(2, self.labels)
        for size in (1.0, 1e30):
            output = self.outputs(2, dtype=torch.float32)
            output[label.isnan()] *= size
            output.requires_grad_()
            for batch in self.batches(label):
                output.grad = None
                samples = self.loss(output, label, batch)
                samples.sums.sum().backward()
                assert bool(samples.sums.isfinite().all())
                assert output.grad is not None
                assert bool((output.grad[label.isnan()] == 0).all())
                assert bool(output.grad.isfinite().all())
                assert bool((output.grad != 0).any())

    def test_a_list_has_the_sum_of_its_samples(self) -> None:
        """Lists one by one, and together."""
        label, output = random_labels(2, self.labels), self.outputs(2)
        together = self.loss(output, label, lists_batch(label, LENGTHS))
        start = 0
        for example, length in enumerate(LENGTHS):
            rows = slice(start, start + length)
            alone = self.loss(output[rows], label[rows], lists_batch(label[rows], (length,)))
            assert_close(together.sums[[example]], alone.sums, 1e-12)
            assert torch.equal(together.counts[[example]], alone.counts)
            start += length

    def test_an_output_that_is_not_a_number_shows(self) -> None:
        label = random_labels(2, self.labels)
        for batch in self.batches(label):
            samples = self.loss(torch.full_like(self.outputs(2), nan), label, batch)
            assert bool(samples.sums[samples.counts > 0].isnan().all())

    def test_nobody_waits_for_the_device(self) -> None:
        label, output = random_labels(2, self.labels), self.outputs(2, dtype=torch.float32)
        for batch in self.batches(label):
            with no_host_synchronisation(output, label, batch) as copies:
                assert self.loss(*copies).sums.shape == (batch.examples, 2)

    def test_a_worker_without_rows_has_no_samples_and_no_gradient(self) -> None:
        label = torch.zeros(0, 2)
        output = self.outputs(2, rows=0).requires_grad_()
        empty = dataclasses.replace(rows_batch(label), query=torch.zeros(0).long(), position=torch.zeros(0).long())
        samples = self.loss(output, label, empty if self.only_lists else rows_batch(label))
        assert samples.sums.shape == samples.counts.shape == (0, 2)
        total = samples.sums.sum()
        total.backward()
        assert float(total.detach()) == 0.0
