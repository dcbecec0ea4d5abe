"""Sums and counts on any number of workers, against the means of all samples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nmt import Multipliers
from tests.trainers._asserts import assert_close
from tests.trainers._cases import (
    ROUNDING,
    Case,
    cases,
    deterministic,
    losses,
    weights_of,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """One worker's sums of sample losses and counts of labelled samples."""

    sums: Tensor
    counts: Tensor


def on_workers(
    shares: Sequence[Share], multipliers: Multipliers, call: Callable[[Multipliers, Share], T]
) -> list[tuple[T, Multipliers]]:
    """Simulate workers in one process: a first round on copies collects the tensors to all-reduce."""
    given: list[Tensor] = []

    def collect(tensor: Tensor, group: object = None) -> None:
        given.append(tensor.clone())

    def add_up(tensor: Tensor, group: object = None) -> None:
        tensor.copy_(torch.stack(given).sum(0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "is_initialized", lambda: True)
        patch.setattr(dist, "get_world_size", lambda group=None: len(shares))
        patch.setattr(dist, "all_reduce", collect)
        for share in shares:
            call(copy.deepcopy(multipliers), share)
        patch.setattr(dist, "all_reduce", add_up)
        found = []
        for share in shares:
            mine = copy.deepcopy(multipliers)
            found.append((call(mine, share), mine))
    assert len(given) == (len(shares) if len(shares) > 1 else 0)  # one all-reduce per call
    return found


def gradient_of_sums(multipliers: Multipliers, share: Share) -> Tensor:
    leaf = share.sums.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(multipliers.combine(leaf, share.counts), leaf)
    return gradient


@st.composite
def splits(draw: st.DrawFn) -> tuple[Case, list[Share], Tensor, Tensor]:
    """Distribute samples to workers at random: the case, the workers' shares, and means and counts of all samples."""
    case = draw(cases())
    tasks = len(case.optima) + case.objectives
    workers = draw(st.integers(1, 5))
    samples = draw(
        st.lists(st.tuples(st.integers(0, workers - 1), st.integers(0, tasks - 1), losses), min_size=0, max_size=30)
    )
    sums, counts = torch.zeros(workers, tasks, dtype=torch.float64), torch.zeros(workers, tasks, dtype=torch.int64)
    for worker, task, loss in samples:
        sums[worker, task] += loss
        counts[worker, task] += 1
    total = torch.zeros(tasks, dtype=torch.float64)
    for _, task, loss in samples:
        total[task] += loss
    labelled = counts.sum(0)
    return case, [Share(s, n) for s, n in zip(sums, counts, strict=True)], total / labelled.clamp(min=1), labelled


class TestWorkers:
    """Sums with counts equal the means of all samples, however they are distributed; a worker may have none."""

    @staticmethod
    def rounding(case: Case) -> float:
        """Return the rounding error of λ after one ascent."""
        unit = min(map(abs, case.optima), default=1.0) if case.violation == "relative" else 1.0
        return ROUNDING * (1 + case.rate / unit)

    @deterministic
    @given(splits())
    def test_combine_is_that_of_the_means(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        """DDP averages the workers' gradients; value and gradient equal those of a single worker."""
        case, shares, means, labelled = split
        multipliers = case.multipliers()
        expected = float(multipliers.combine(means))
        values = [value for value, _ in on_workers(shares, multipliers, lambda m, s: m.combine(s.sums, s.counts))]
        assert_close(torch.stack(values).mean(), expected, ROUNDING)

        per_sample = weights_of(multipliers, means) / labelled.clamp(min=1)
        gradients = [gradient for gradient, _ in on_workers(shares, multipliers, gradient_of_sums)]
        for gradient in gradients:  # a sample has the same weight on every worker
            assert_close(gradient / len(shares), per_sample, 1e-12)

    @deterministic
    @given(splits())
    def test_ascend_is_that_of_the_means(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        case, shares, means, labelled = split
        alone = case.multipliers()
        alone.ascend(means)
        protected = len(case.optima)
        before = torch.tensor(case.initial, dtype=torch.float64)
        expected = torch.where(labelled[:protected] > 0, alone.values, before)
        found = on_workers(shares, case.multipliers(), lambda m, s: m.ascend(s.sums, s.counts))
        for _, worker in found:
            assert torch.equal(worker.values, found[0][1].values)  # bit-identical
        assert_close(found[0][1].values, expected, self.rounding(case))

    @deterministic
    @given(splits())
    def test_order_of_summation_does_not_matter(self, split: tuple[Case, list[Share], Tensor, Tensor]) -> None:
        """One worker gets the totals."""
        case, shares, means, labelled = split
        multipliers = case.multipliers()
        totals = torch.stack([share.sums for share in shares]).sum(0)
        assert_close(multipliers.combine(totals, labelled), float(multipliers.combine(means)), ROUNDING)
        [(_, one)] = on_workers([Share(totals, labelled)], multipliers, lambda m, s: m.ascend(s.sums, s.counts))
        for _, worker in on_workers(shares, multipliers, lambda m, s: m.ascend(s.sums, s.counts)):
            assert_close(worker.values, one.values, self.rounding(case))
