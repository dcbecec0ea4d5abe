"""Outputs of a split: rows of examples, and what metrics are given of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.outputs import SplitOutputs, join_outputs, rows_of_examples, to_batch
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.models.scorer import Scorer
from nmt.trainers.spec.task import Task
from tests.trainers._problems import TwoTowers, binary, conflict, ranking

LENGTHS = torch.tensor([3, 1, 2])


def test_rows_of_examples_in_any_order_and_more_than_once() -> None:
    assert rows_of_examples(LENGTHS, torch.tensor([2, 0, 0, 1])).tolist() == [4, 5, 0, 1, 2, 0, 1, 2, 3]
    assert rows_of_examples(LENGTHS, torch.tensor([], dtype=torch.int64)).tolist() == []
    assert rows_of_examples(None, torch.tensor([4, 4, 1])).tolist() == [4, 4, 1]  # a row is an example


def test_a_minibatch_for_metrics_has_the_rows_of_its_lists() -> None:
    batch = to_batch(LENGTHS, 6)
    assert batch.query is not None
    assert batch.position is not None
    assert batch.query.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.position.tolist() == [0, 1, 2, 0, 0, 1]
    assert (batch.rows, batch.examples, batch.longest) == (6, 3, 3)


def test_a_minibatch_of_rows_has_no_lists() -> None:
    batch = to_batch(None, 4)
    assert (batch.rows, batch.examples, batch.longest) == (4, 4, 1)
    assert (batch.query, batch.position) == (None, None)


@pytest.mark.parametrize("lists", [False, True])
def test_parts_are_joined_in_their_order(lists: bool) -> None:
    parts = [
        SplitOutputs({"a": values, "b": -values}, {"a": values + 10, "b": values + 20}, lengths if lists else None)
        for values, lengths in (
            (torch.arange(4.0), torch.tensor([3, 1])),
            (torch.arange(4.0, 6.0), torch.tensor([2])),
        )
    ]
    joined = join_outputs(parts)
    assert joined.outputs["b"].tolist() == [-0.0, -1.0, -2.0, -3.0, -4.0, -5.0]
    assert joined.labels["a"].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    assert joined.examples == (3 if lists else 6)
    assert joined.lengths is None or joined.lengths.tolist() == [3, 1, 2]
    some = joined.select(["b", "unknown"])
    assert (list(some.outputs), list(some.labels), some.examples) == (["b"], ["b"], joined.examples)


def test_an_evaluation_keeps_every_row_of_the_split(tmp_path: Path) -> None:
    """In the order of the examples, with the losses' own labels: the loss and the metric follow from them."""
    tasks = (binary("first"), binary("second"))
    feed = MemoryFeed(str(conflict(tmp_path / "data")), ["first", "second"], 16, 0)
    found = evaluate(Learner(TwoTowers(feed.schema, tasks), feed, TaskLosses(tasks)), "valid", keep_outputs=True)
    assert found.outputs is not None
    for task in tasks:
        output, label = found.outputs.outputs[task.name], found.outputs.labels[task.name]
        assert len(output) == 120
        labelled = ~label.isnan()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output[labelled], label[labelled])
        assert float(loss) == pytest.approx(found.losses[task.name], rel=1e-6)
        rows = torch.nn.functional.binary_cross_entropy_with_logits(output, label.nan_to_num(), reduction="none")
        assert torch.allclose(rows * labelled, found.local_of(task.name).sums, atol=1e-6)


def test_an_evaluation_of_lists_keeps_their_lengths(tmp_path: Path) -> None:
    tasks = (Task("pay", "pairwise_logistic"), Task("amount", "pairwise_logistic"))
    feed = MemoryFeed(str(ranking(tmp_path / "data")), ["pay", "amount"], 7, 0)
    model = Scorer(feed.schema, tasks, embedding_dim=2, units=[])
    found = evaluate(Learner(model, feed, TaskLosses(tasks)), "valid", keep_outputs=True).outputs
    assert found is not None
    assert found.examples == 40
    assert found.lengths is not None
    assert int(found.lengths.sum()) == len(found.outputs["pay"]) == len(found.labels["amount"])
    assert torch.equal(found.outputs["pay"], found.outputs["amount"])


def test_outputs_are_not_kept_unless_they_are_asked_for(tmp_path: Path) -> None:
    tasks = (binary("first"),)
    feed = MemoryFeed(str(conflict(tmp_path / "data")), ["first"], 16, 0)
    learner = Learner(TwoTowers(feed.schema, tasks), feed, TaskLosses(tasks))
    assert evaluate(learner, "valid").outputs is None
