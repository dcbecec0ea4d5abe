from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.data import memory
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_schema, write
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.evaluation.evaluation import Evaluation, evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.spec.task import Task
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Noisy, Normalised, Prepared, binary, conflict

TASKS = (Task("pay", "binary_cross_entropy", label="bought"), Task("amount", "pairwise_logistic"))


class Price(nn.Module):
    """Scores that are a function of the row alone."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.7))

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        score = self.slope * batch.categorical[:, 1] - 2.0
        return {"pay": score, "amount": -score}


def evaluation_of(data: Prepared, batch_examples: int, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    monkeypatch.setattr(memory, "SCAN_ROWS", batch_examples)
    feed = MemoryFeed(str(data.folder), [task.label for task in TASKS], 8, 0)
    return evaluate(Learner(Price(), feed, TaskLosses(TASKS)), "train")


def test_means_are_over_the_labelled_samples_of_the_split(
    lists_data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluation_of(lists_data, 8192, monkeypatch)
    columns, example = lists_data.columns["train"], lists_data.example["train"]
    score, label = 0.7 * columns["shop"] - 2.0, columns["bought"]
    entropies = [
        math.log(1 + math.exp(-s if y == 1 else s)) for s, y in zip(score, label, strict=True) if not math.isnan(y)
    ]
    assert found.samples["pay"] == len(entropies)
    assert found.losses["pay"] == pytest.approx(sum(entropies) / len(entropies), rel=1e-5)
    amount = columns["amount"]
    pairs = [
        math.log(1 + math.exp(score[i] - score[j]))
        for i in range(len(score))
        for j in range(len(score))
        if example[i] == example[j] and amount[i] > amount[j]
    ]
    assert found.samples["amount"] == len(pairs)
    assert found.losses["amount"] == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    assert found.local.sums.shape == (41, 2)
    assert float(found.local_of("amount").counts.sum()) == len(pairs)


def test_batches_of_the_pass_do_not_matter(lists_data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of batch means would, as labels are missing and lists differ."""
    whole, parts = (evaluation_of(lists_data, size, monkeypatch) for size in (8192, 12))
    assert parts.losses == pytest.approx(whole.losses, rel=1e-6)
    assert parts.samples == whole.samples
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-6)
    assert set(whole.metrics) == {"pay", "amount"}
    assert torch.allclose(parts.local.sums, whole.local.sums)


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_model_is_put_back(rows_data: Prepared, training: bool) -> None:
    tasks = (Task("pay", "binary_cross_entropy", label="bought"),)
    model = Price().train(training)
    feed = MemoryFeed(str(rows_data.folder), ["bought"], 8, 0)
    for mode in ("train", "eval"):
        evaluate(Learner(model, feed, TaskLosses(tasks)), "valid", mode=mode)  # type: ignore[arg-type]
        assert model.training == training


def test_mode_of_the_pass(tmp_path: Path) -> None:
    tasks = (binary("first"),)
    data = str(conflict(tmp_path / "data"))
    feed, losses = MemoryFeed(data, ["first"], 8, 0), TaskLosses(tasks)
    model = Noisy(read_schema(data), tasks, dropout=0.5)
    evaluated = [evaluate(Learner(model, feed, losses), "train").losses["first"] for _ in range(2)]
    trained = [evaluate(Learner(model, feed, losses), "train", mode="train").losses["first"] for _ in range(2)]
    assert evaluated[0] == evaluated[1]
    assert len({*evaluated, *trained}) == 3


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_measuring_changes_nothing(tmp_path: Path, mode: str) -> None:
    """Not even the running statistics of a batch normalisation."""
    tasks = (binary("first"),)
    data = str(conflict(tmp_path / "data"))
    model = Normalised(read_schema(data), tasks)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    feed = MemoryFeed(data, ["first"], 8, 0)
    evaluate(Learner(model, feed, TaskLosses(tasks)), "train", mode=mode)  # type: ignore[arg-type]
    assert_identical(model.state_dict(), before)


@pytest.mark.parametrize("label", [1.0, None])
def test_an_undefined_metric_is_absent(tmp_path: Path, label: float | None) -> None:
    """One class only, or no label at all."""
    table = pa.table({"x": [1.0, -1.0, 0.5], "first": pa.array([label] * 3, pa.float32())})
    write(
        tmp_path / "data",
        Schema(numeric={"x": Numeric()}, labels={"first": 2}),
        {split: [table] for split in ("train", "valid", "test")},
    )
    tasks = (binary("first"),)
    feed = MemoryFeed(str(tmp_path / "data"), ["first"], 8, 0)
    found = evaluate(Learner(Noisy(feed.schema, tasks), feed, TaskLosses(tasks)), "valid")
    assert found.metrics == {}
    assert found.samples == {"first": 3 if label else 0}
    assert math.isnan(found.losses["first"]) == (label is None)


def test_a_task_without_a_metric(rows_data: Prepared) -> None:
    tasks = (Task("pay", "nmt.trainers.losses.binary_cross_entropy:binary_cross_entropy", label="bought"),)
    feed = MemoryFeed(str(rows_data.folder), ["bought"], 8, 0)
    found = evaluate(Learner(Price(), feed, TaskLosses(tasks)), "valid")
    assert found.metrics == {}
    assert set(found.losses) == {"pay"}


class ThreeClasses(nn.Module):
    """Three logits of one task and a prediction of another, both functions of x alone."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        x = batch.numeric[:, 0]
        return {"kind": torch.stack([x, -x, self.slope + 0 * x], 1), "size": self.slope * x}


def test_a_task_of_classes_beside_one_of_real_labels(tmp_path: Path) -> None:
    x, kind, size = [1.0, -1.0, 0.25, 2.0], [0.0, 2.0, 2.0, None], [1.0, None, 0.125, 3.0]
    columns = {"x": x, "kind": pa.array(kind, pa.float32()), "size": pa.array(size, pa.float32())}
    schema = Schema(numeric={"x": Numeric()}, labels={"kind": 3, "size": 0})
    write(tmp_path / "data", schema, {split: [pa.table(columns)] for split in ("train", "valid", "test")})
    tasks = (Task("kind", "cross_entropy"), Task("size", "squared_error"))
    feed = MemoryFeed(str(tmp_path / "data"), ["kind", "size"], 8, 0)
    found = evaluate(Learner(ThreeClasses(), feed, TaskLosses(tasks)), "valid")
    logits = [(1.0, -1.0, 0.5), (-1.0, 1.0, 0.5), (0.25, -0.25, 0.5)]
    entropies = [math.log(sum(map(math.exp, row))) - row[y] for row, y in zip(logits, (0, 2, 2), strict=True)]
    assert found.losses["kind"] == pytest.approx(sum(entropies) / 3, rel=1e-6)
    assert found.losses["size"] == pytest.approx((0.5**2 + 0 + 2**2) / 3, rel=1e-6)
    assert found.metrics == pytest.approx({"kind": 2 / 3, "size": math.sqrt(4.25 / 3)}, rel=1e-6)
    assert found.samples == {"kind": 3, "size": 3}
