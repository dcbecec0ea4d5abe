from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from nmt.trainers.data import memory
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.schema import SPLITS
from tests.trainers._asserts import assert_content
from tests.trainers._problems import Prepared

LABELS = ("amount", "bought")
BATCH = 8


def feeds(data: Prepared, workers: int, labels: Sequence[str] = LABELS, batch_size: int = BATCH) -> list[MemoryFeed]:
    return [MemoryFeed(str(data.folder), labels, batch_size, 0, rank, workers) for rank in range(workers)]


@pytest.fixture(params=["rows_data", "lists_data"])
def data(request: pytest.FixtureRequest) -> Prepared:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Prepared)
    return found


def test_content_of_every_batch(data: Prepared) -> None:
    feed = feeds(data, 1)[0]
    for batch in feed.epoch(0, 0):
        assert_content(batch, data, "train")
    for split in SPLITS:
        for batch in feed.scan(split):
            assert_content(batch, data, split)


@pytest.mark.parametrize("workers", [2, 3])
def test_content_on_each_of_several_workers(data: Prepared, workers: int) -> None:
    for feed in feeds(data, workers):
        for batch in feed.epoch(1, 2):
            assert_content(batch, data, "train")
        for batch in feed.scan("valid"):
            assert_content(batch, data, "valid")


def test_example_counts(data: Prepared) -> None:
    feed = feeds(data, 1)[0]
    for split in SPLITS:
        assert feed.examples(split) == data.example[split][-1] + 1
    n = feed.examples("train")
    assert feed.steps_per_epoch() == -(-n // BATCH)
    sizes = [batch.examples for epoch in range(3) for batch in feed.epoch(0, epoch)]
    assert 0 < sizes[feed.steps_per_epoch() - 1] < BATCH  # the last batch is smaller
    for steps in range(len(sizes) + 1):
        assert feed.examples_in(steps) == sum(sizes[:steps])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_partition_every_split(data: Prepared, workers: int) -> None:
    for split in SPLITS:
        held = [torch.cat([batch.index for batch in feed.scan(split)]).tolist() for feed in feeds(data, workers)]
        for rank, examples in enumerate(held):
            assert examples == list(range(rank, feeds(data, 1)[0].examples(split), workers))


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_global_batches_do_not_depend_on_the_number_of_workers(data: Prepared, workers: int) -> None:
    alone, together = feeds(data, 1)[0], feeds(data, workers)
    for stage, epoch in ((0, 0), (0, 1), (2, 0)):
        whole = list(alone.epoch(stage, epoch))
        parts = [list(feed.epoch(stage, epoch)) for feed in together]
        assert all(len(batches) == len(whole) for batches in parts)
        for step, batch in enumerate(whole):
            union = torch.cat([batches[step].index for batches in parts])
            assert sorted(union.tolist()) == sorted(batch.index.tolist())


def test_an_epoch_yields_every_example_once(data: Prepared) -> None:
    feed = feeds(data, 1)[0]
    seen = torch.cat([batch.index for batch in feed.epoch(0, 4)])
    assert sorted(seen.tolist()) == list(range(feed.examples("train")))
    assert seen.tolist() != sorted(seen.tolist())
    assert seen.tolist() != torch.cat([batch.index for batch in feed.epoch(0, 5)]).tolist()
    assert seen.tolist() == torch.cat([batch.index for batch in feeds(data, 1)[0].epoch(0, 4)]).tolist()


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_pass_can_start_at_any_step(data: Prepared, workers: int, split: str) -> None:
    for feed in feeds(data, workers):
        whole = [batch.index.tolist() for batch in feed.epoch(1, 2, split)]
        assert len(whole) == feed.steps_per_epoch(split)
        for start in range(len(whole) + 1):
            assert [batch.index.tolist() for batch in feed.epoch(1, 2, split, start)] == whole[start:]


def test_seed_changes_the_order(data: Prepared) -> None:
    one, two = (MemoryFeed(str(data.folder), LABELS, BATCH, seed) for seed in (0, 1))
    assert next(iter(one.epoch(0, 0))).index.tolist() != next(iter(two.epoch(0, 0))).index.tolist()


def test_more_workers_than_examples(data: Prepared) -> None:
    workers = data.schema.examples["test"] + 2
    held = [list(feed.scan("test")) for feed in feeds(data, workers)]
    assert all(len(batches) >= 1 for batches in held)  # an empty batch, so that every worker joins the collectives
    assert held[-1][0].examples == 0
    assert held[-1][0].rows == 0


def test_a_scan_in_several_batches_keeps_the_order(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SCAN_ROWS", 10)
    feed = feeds(data, 1)[0]
    batches = list(feed.scan("train"))
    assert len(batches) > 3
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(feed.examples("train")))
    for batch in batches:
        assert_content(batch, data, "train")
        assert batch.examples * batch.longest <= 10


def test_two_tasks_can_share_a_label(data: Prepared) -> None:
    batch = next(iter(feeds(data, 1, ["bought", "bought"])[0].epoch(0, 0)))
    assert torch.equal(batch.labels[:, 0].nan_to_num(), batch.labels[:, 1].nan_to_num())


def test_not_a_prepared_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a prepared data set \(no schema.json in it\)"):
        MemoryFeed(str(tmp_path), LABELS, BATCH, 0)
