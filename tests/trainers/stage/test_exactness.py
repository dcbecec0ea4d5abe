"""Many workers are the same algorithm as one: θ and λ at every one of 50 steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.feed import Feed
from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, MinibatchViolations
from tests.trainers._problems import binary, chain_spec, conflict, feed_and_model, paper, ranking
from tests.trainers._workers import Workers

STEPS = 50
TWO_TOWERS = "tests.trainers._problems:TwoTowers"
CASES = ("rows", "sparse", "lists")


def sparse(folder: Path) -> Path:
    """Rows of which only every sixth has a label of the first task: with two workers, one of them holds none."""
    rng = np.random.default_rng(9)
    tables = {}
    for split, rows in {"train": 101, "valid": 30, "test": 30}.items():
        x = rng.normal(size=(rows, 2)).astype(np.float32)
        first = (x[:, 0] > 0).astype(np.float32)
        first[np.arange(rows) % 6 != 0] = np.nan
        second = (x[:, 1] - x[:, 0] > 0).astype(np.float32)
        content = {"x": x[:, 0], "y": x[:, 1], "first": pa.array(first, from_pandas=True), "second": second}
        tables[split] = [pa.table(content)]
    write(folder, Schema(numeric={"x": Numeric(), "y": Numeric()}, labels={"first": 2, "second": 2}), tables)
    return folder


def spec_of(case: str, folder: Path) -> ChainSpec:
    training = paper(eta_theta=0.05, eta_lambda=3.0, optimizer="adam", clip_norm=2.0)
    if case == "lists":
        levels = ([Task("pay", "pairwise_logistic")], [Task("amount", "pairwise_logistic")])
    else:
        levels = ([binary("first")], [binary("second")])
    size = {"rows": 32, "sparse": 13, "lists": 7}[case]  # none divides its split
    return chain_spec(folder / case, levels, training, model=TWO_TOWERS, batch_size=size, double=True)


class LocalViolations(MinibatchViolations):
    """What a careless implementation does: each worker measures its own minibatch."""

    def measure(self, batch: Batch, samples: Samples, counts: Tensor, losses: Tensor) -> Tensor:
        mine = samples.counts.sum(0).double()
        return super().measure(batch, samples, mine, samples.sums.detach().sum(0).double() / mine.clamp(min=1))


def train(rank: int, workers: int, folder: str, case: str, local: bool) -> tuple[Tensor, Tensor]:
    """θ, shape ``(steps, parameters)``, and λ, shape ``(steps, protected)``, after every step."""
    spec = spec_of(case, Path(folder))
    feed, model = feed_and_model(spec, Path(folder) / case, rank, workers)
    for parameter in [p for name, p in model.named_parameters() if "unread" in name]:
        parameter.requires_grad_(False)
    multipliers = Multipliers([0.1], rate=spec.training.eta_lambda, names=[spec.tasks[0].name])
    violations = (LocalViolations if local else MinibatchViolations)(multipliers)
    stage = spec.stages[1]
    learner, method = Learner(model, feed, TaskLosses(spec.tasks)), Constrained(multipliers)
    stepper = Stepper(learner, stage, Terms(stage, learner.device), Ascent(multipliers, violations), method)
    stepper.settle(next(iter(feed.epoch(0, 0))))
    theta, lambdas = [], []
    stream = batches(feed)
    batch = next(stream)
    for _ in range(STEPS):
        following = next(stream)
        stepper.step(batch, following)
        theta.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        lambdas.append(multipliers.values.clone())
        batch = following
    return torch.stack(theta), torch.stack(lambdas)


def batches(feed: Feed) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from feed.epoch(1, epoch)
        epoch += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exactness")
    conflict(folder / "rows")
    sparse(folder / "sparse")
    ranking(folder / "lists")
    return folder


def distance(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """Largest difference of θ and λ over all steps."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_trajectory(folder: Path, workers: Workers, case: str, count: int) -> None:
    alone = train(0, 1, str(folder), case, False)
    together: list[Any] = workers.run(count, train, str(folder), case, False)
    assert len(alone[1].unique()) > STEPS // 2  # λ does move
    for theta, lambdas in together:
        assert distance(alone, (theta, lambdas)) < 1e-6
        assert torch.equal(lambdas, together[0][1])  # bit by bit, at every step
        assert torch.equal(theta, together[0][0])


@pytest.mark.parametrize("case", CASES)
def test_multipliers_from_local_losses_fail_the_same_test(folder: Path, workers: Workers, case: str) -> None:
    alone = train(0, 1, str(folder), case, True)
    assert distance(alone, train(0, 1, str(folder), case, False)) == 0.0  # one worker has no other losses
    together: list[Any] = workers.run(2, train, str(folder), case, True)
    assert any(distance(alone, found) > 1e-3 for found in together)
    assert not torch.equal(together[0][1], together[1][1])


def test_a_worker_without_a_label_of_the_task(folder: Path) -> None:
    """The case is what it says."""
    spec = spec_of("sparse", folder)
    feed, _ = feed_and_model(spec, folder / "sparse", 1, 2)
    assert all(batch.labels[:, 0].isnan().all() for batch in feed.scan("train"))
