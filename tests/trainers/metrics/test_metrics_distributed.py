"""Every metric on two workers has the value of the pooled rows, however they are divided."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.trainers.data.batch import Batch
from nmt.trainers.metrics.compute import compute_metrics
from nmt.trainers.registry import METRICS, resolve
from tests.trainers._problems import lists_batch
from tests.trainers._workers import Workers

LENGTHS = (4, 7, 1, 9, 5, 6)
CLASSES = 3


def pooled(name: str) -> tuple[Tensor, Tensor]:
    """Return output and label of every row; about a fifth of the labels are missing."""
    generator = torch.Generator().manual_seed(7)
    rows = sum(LENGTHS)
    classes = CLASSES if name == "accuracy" else 2
    output = torch.randn((rows, CLASSES) if name == "accuracy" else (rows,), generator=generator)
    label = torch.randint(0, classes, (rows,), generator=generator).float()
    if name == "rmse":
        label = torch.randn(rows, generator=generator)
    label[torch.rand(rows, generator=generator) < 0.2] = math.nan
    return output, label


def part(name: str, lists: range) -> tuple[Tensor, Tensor, Batch]:
    """Return a minibatch of some lists."""
    output, label = pooled(name)
    rows = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    mine = torch.isin(rows, torch.tensor(list(lists)))
    return output[mine], label[mine], lists_batch(label[mine, None], [LENGTHS[i] for i in lists])


def measure(rank: int, workers: int) -> dict[str, list[float]]:
    """Compute each metric with uneven shares of the lists, with labels on the last worker only, and without labels."""
    shares = range(4) if rank == 0 else range(4, len(LENGTHS))
    metrics = {name: resolve("metric", name, METRICS)() for name in METRICS}
    for name, metric in metrics.items():
        metric.update(*part(name, shares[:1]))
        metric.update(*part(name, shares[1:]))
    cases = [compute_metrics(metrics)]
    for labelled in (rank == workers - 1, False):
        metrics = {name: resolve("metric", name, METRICS)() for name in METRICS}
        for name, metric in metrics.items():
            output, label, batch = part(name, range(2))
            metric.update(output, label if labelled else torch.full_like(label, math.nan), batch)
        cases.append(compute_metrics(metrics))
    return {name: [float(values[name]) for values in cases] for name in METRICS}


def collectives(rank: int, workers: int, count: int) -> int:
    """Count the collectives that compute ``count`` AUCs."""
    metrics = {str(number): resolve("metric", "auc", METRICS)() for number in range(count)}
    for metric in metrics.values():
        metric.update(*part("auc", range(3)))
    with _Collectives() as counted:
        compute_metrics(metrics)
    return counted.calls


class _Collectives(TorchDispatchMode):
    """Counts collectives."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += str(func).startswith("c10d.")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def found(workers: Workers) -> list[dict[str, list[float]]]:
    return workers.run(2, measure)


def alone(name: str, lists: range) -> float:
    metric = resolve("metric", name, METRICS)()
    metric.update(*part(name, lists))
    return float(metric.compute())


@pytest.mark.parametrize("name", METRICS)
class TestOnTwoWorkers:
    def test_value_of_the_pooled_rows(self, found: list[dict[str, list[float]]], name: str) -> None:
        expected = alone(name, range(len(LENGTHS)))
        assert expected not in (0, 1)
        for worker in found:
            assert worker[name][0] == pytest.approx(expected, rel=1e-6 if name == "auc" else 1e-12)
        assert found[0][name][0] == found[1][name][0]

    def test_the_shares_differ(self, found: list[dict[str, list[float]]], name: str) -> None:
        """The negative control: no single share has the value, nor does the mean of the shares."""
        shares = [alone(name, range(4)), alone(name, range(4, len(LENGTHS)))]
        for wrong in (*shares, sum(shares) / 2):
            assert wrong != pytest.approx(found[0][name][0], rel=1e-3)

    def test_a_worker_without_labels(self, found: list[dict[str, list[float]]], name: str) -> None:
        expected = alone(name, range(2))
        for worker in found:
            assert worker[name][1] == pytest.approx(expected, rel=1e-6)

    def test_no_worker_has_labels(self, found: list[dict[str, list[float]]], name: str) -> None:
        for worker in found:
            assert math.isnan(worker[name][2])


def test_the_number_of_collectives_does_not_grow_with_the_metrics(workers: Workers) -> None:
    few, many = workers.run(2, collectives, 1), workers.run(2, collectives, 40)
    assert few == many
    assert 0 < few[0] <= 2  # sizes, then content
