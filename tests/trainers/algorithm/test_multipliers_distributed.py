"""Multipliers on two and three workers: bit-identical on each, and the trajectory of one worker with all the data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nmt import Multipliers
from tests.trainers._asserts import assert_close
from tests.trainers._workers import Workers

STEPS = 40
OPTIMA = [0.05, 0.1]
ROWS = {2: (0, 9, 12), 3: (0, 7, 10, 12)}
"""First row of each worker's part; parts are uneven."""


def samples(rows: slice, weight: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums and counts of the squared errors of one score for three labels, NaN where missing."""
    label = labels[rows]
    errors = inputs[rows] @ weight.T - label.nan_to_num()
    labelled = ~label.isnan()
    return (errors.square() * labelled).sum(0), labelled.sum(0)


def pooled(workers: int) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of all workers; the last worker has no label of the first task."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    labels = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    labels[ROWS[workers][-2] :, 0] = float("nan")
    labels[1::3, 1] = float("nan")
    return inputs, labels


def fresh() -> tuple[nn.Linear, Multipliers]:
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.5)
    return model, Multipliers(OPTIMA, rate=2.0, names=["first", "second"])


def train(rank: int, workers: int) -> dict[str, Any]:
    """Compute everything that the tests below check, in one start of the workers."""
    inputs, labels = pooled(workers)
    mine = slice(ROWS[workers][rank], ROWS[workers][rank + 1])
    model, multipliers = fresh()
    replica = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: dict[str, list[Tensor]] = {"multipliers": [], "gradients": [], "local": []}
    local = Multipliers(OPTIMA, rate=2.0)
    for _ in range(STEPS):
        replica(inputs[mine])  # DDP all-reduces gradients only after a forward pass
        sums, counts = samples(mine, model.weight, inputs, labels)
        optimizer.zero_grad()
        multipliers.combine(sums, counts).backward()
        assert model.weight.grad is not None
        found["gradients"].append(model.weight.grad.clone())
        optimizer.step()
        multipliers.ascend(sums, counts)
        local.ascend(sums / counts.clamp(min=1), reduced=True)
        found["multipliers"].append(multipliers.values.clone())
        found["local"].append(local.values.clone())
    result: dict[str, Any] = {name: torch.stack(values) for name, values in found.items()}
    result["weight"] = model.weight.detach().clone()

    means = Multipliers([0.0], rate=1.0)
    means.ascend(torch.tensor([float(rank), 0.0]))
    result["mean of means"] = means.values.clone()

    unlabelled = Multipliers([0.5], rate=1.0)
    losses = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    total = unlabelled.combine(losses, torch.zeros(2))
    total.backward()
    unlabelled.ascend(losses, torch.zeros(2))
    result["unlabelled"] = torch.stack([unlabelled.values[0], total.detach()])

    pair = dist.new_group([0, 1])
    if rank < 2:
        grouped = Multipliers([0.0], rate=1.0, group=pair)
        grouped.ascend(torch.tensor([rank + 1.0, 0.0]), torch.tensor([rank + 1.0, 1.0]))
        result["group"] = grouped.values.clone()
    return result


@pytest.fixture(scope="module", params=[2, 3])
def run(request: pytest.FixtureRequest, workers: Workers) -> list[dict[str, Tensor]]:
    return workers.run(request.param, train)


def alone(workers: int) -> dict[str, Tensor]:
    """Train one worker on the pooled data, with mean losses."""
    inputs, labels = pooled(workers)
    model, multipliers = fresh()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: dict[str, list[Tensor]] = {"multipliers": [], "gradients": []}
    for _ in range(STEPS):
        sums, counts = samples(slice(None), model.weight, inputs, labels)
        losses = sums / counts
        optimizer.zero_grad()
        multipliers.combine(losses).backward()
        assert model.weight.grad is not None
        found["gradients"].append(model.weight.grad.clone())
        optimizer.step()
        multipliers.ascend(losses)
        found["multipliers"].append(multipliers.values.clone())
    return {name: torch.stack(values) for name, values in found.items()} | {"weight": model.weight.detach()}


def test_multipliers_are_bit_identical_on_all_workers(run: list[dict[str, Tensor]]) -> None:
    for other in run[1:]:
        assert torch.equal(run[0]["multipliers"], other["multipliers"])
        assert torch.equal(run[0]["weight"], other["weight"])


def test_same_trajectory_as_one_worker_with_all_data(run: list[dict[str, Tensor]]) -> None:
    reference = alone(len(run))
    assert float(reference["multipliers"].std(0).min()) > 0.1  # they move
    for name, value in reference.items():
        assert_close(run[0][name], value, 1e-10)


def test_gradient_is_that_of_the_pooled_objective(run: list[dict[str, Tensor]]) -> None:
    inputs, labels = pooled(len(run))
    model, multipliers = fresh()
    sums, counts = samples(slice(None), model.weight, inputs, labels)
    multipliers.combine(sums / counts).backward()
    assert model.weight.grad is not None
    for worker in run:
        assert_close(worker["gradients"][0], model.weight.grad, 1e-14)


def test_multipliers_from_local_losses_drift_apart(run: list[dict[str, Tensor]]) -> None:
    """The negative control: the workers' data differ."""
    assert float((run[0]["local"][-1] - run[1]["local"][-1]).abs().max()) > 1.0


def test_without_counts_the_means_are_averaged(run: list[dict[str, Tensor]]) -> None:
    expected = 1.0 + sum(range(len(run))) / len(run)
    for worker in run:
        assert_close(worker["mean of means"], [expected], 1e-12)


def test_task_without_labels(run: list[dict[str, Tensor]]) -> None:
    for worker in run:
        assert worker["unlabelled"].tolist() == [1.0, 0.0]


def test_only_the_given_group_takes_part(run: list[dict[str, Tensor]]) -> None:
    for worker in run[:2]:
        assert_close(worker["group"], [1.0 + (1.0 + 2.0) / (1.0 + 2.0)], 1e-12)
