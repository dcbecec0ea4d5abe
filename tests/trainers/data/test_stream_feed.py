from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nmt.trainers.data import lanes as lanes_module
from nmt.trainers.data import prepared, stream
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.examples import Examples
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prefetch import THREADS
from nmt.trainers.data.schema import SPLITS, Numeric, Schema
from nmt.trainers.data.split import Split, Unit
from nmt.trainers.data.stream import StreamFeed
from tests.trainers._asserts import assert_content
from tests.trainers._problems import Prepared, mixed_lists, mixed_rows

LABELS = ("amount", "bought")
BATCH = 8


def feeds(data: Prepared, workers: int, batch_size: int = BATCH, seed: int = 0) -> list[StreamFeed]:
    return [StreamFeed(str(data.folder), LABELS, batch_size, seed, rank, workers) for rank in range(workers)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """Data sets of many small units of different sizes."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "SHARD_ROWS", 24)
        return {"rows": mixed_rows(folder / "rows"), "lists": mixed_lists(folder / "lists")}


@pytest.fixture(params=["rows", "lists"])
def data(request: pytest.FixtureRequest, many: dict[str, Prepared]) -> Prepared:
    return many[request.param]


def indices(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def flat(parts: Iterable[Sequence[int]]) -> list[int]:
    return [index for part in parts for index in part]


def test_units_hold_whole_lists(many: dict[str, Prepared]) -> None:
    rows, lists = (Split(str(one.folder), "train", one.schema, LABELS).units for one in many.values())
    assert [unit.rows for unit in rows] == [6, 6, 5] + [6] * 6
    assert sum(unit.examples for unit in lists) == 41
    assert len({unit.examples for unit in lists}) > 2
    assert max(unit.rows for unit in lists) <= 6


def test_content_of_every_batch(data: Prepared) -> None:
    for workers in (1, 3):
        for feed in feeds(data, workers):
            for split in SPLITS:
                for batch in (*feed.epoch(1, 2, split), *feed.scan(split)):
                    assert_content(batch, data, split)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("split", SPLITS)
def test_an_epoch_yields_every_example_once(data: Prepared, workers: int, split: str) -> None:
    seen = [flat(indices(feed.epoch(0, 1, split))) for feed in feeds(data, workers)]
    assert sorted(flat(seen)) == list(range(data.schema.examples[split]))


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_global_batches_do_not_depend_on_the_number_of_workers(data: Prepared, workers: int, split: str) -> None:
    alone, together = feeds(data, 1)[0], feeds(data, workers)
    for stage, epoch in ((0, 0), (0, 1), (2, 0)):
        whole = indices(alone.epoch(stage, epoch, split))
        parts = [indices(feed.epoch(stage, epoch, split)) for feed in together]
        assert len(whole) == -(-data.schema.examples[split] // BATCH) == alone.steps_per_epoch(split)
        assert [sorted(flat(batches)) for batches in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_other_splits_and_scans_are_sharded_as_in_memory(data: Prepared, workers: int) -> None:
    """References of earlier levels are looked up by ``index // world_size``."""
    for rank, feed in enumerate(feeds(data, workers)):
        memory = MemoryFeed(str(data.folder), LABELS, BATCH, 0, rank, workers)
        for split in SPLITS:
            assert flat(indices(feed.scan(split))) == flat(indices(memory.scan(split)))
        for batch in indices(feed.epoch(1, 0, "valid")):
            assert all(index % workers == rank for index in batch)


def test_workers_share_the_training_split_by_lanes(many: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker reads only its own part of the training split."""
    read: list[Unit] = []
    whole = Split.read

    def recorded(self: Split, unit: Unit, *shard: int) -> Examples:
        read.append(unit)
        return whole(self, unit, *shard)

    monkeypatch.setattr(Split, "read", recorded)
    seen = []
    for feed in feeds(many["rows"], 2):
        assert indices(feed.epoch(0, 0))
        seen.append({unit.first for unit in read})
        assert len(read) == len(seen[-1])
        read.clear()
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 9


def test_order_depends_on_seed_stage_and_epoch(data: Prepared) -> None:
    feed, other = feeds(data, 1)[0], feeds(data, 1, seed=1)[0]
    first = indices(feed.epoch(0, 0))
    assert first == indices(feeds(data, 1)[0].epoch(0, 0))
    assert flat(first) != sorted(flat(first))
    for another in (feed.epoch(0, 1), feed.epoch(1, 0), other.epoch(0, 0)):
        assert sorted(map(sorted, indices(another))) != sorted(map(sorted, first))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_pass_can_start_at_any_step(data: Prepared, workers: int, split: str) -> None:
    for feed in feeds(data, workers):
        whole = indices(feed.epoch(1, 2, split))
        for start in range(len(whole) + 1):
            assert indices(feed.epoch(1, 2, split, start)) == whole[start:]


def test_units_before_the_start_are_not_read(many: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Unit] = []
    whole = Split.read
    monkeypatch.setattr(Split, "read", lambda self, unit, *shard: read.append(unit) or whole(self, unit, *shard))
    feed = feeds(many["rows"], 1)[0]
    lanes = len(feed._lanes("train").units)
    assert lanes < len(feed._splits["train"].units)
    for start in range(feed.steps_per_epoch()):
        read.clear()
        rest = set(flat(indices(feed.epoch(0, 0, start=start))))
        assert len({unit.first for unit in read}) == len(read)
        needless = [unit for unit in read if not rest & set(range(unit.first, unit.first + unit.examples))]
        assert len(needless) <= lanes  # its last examples may come before its window ends
    assert len(read) <= 2 * lanes


def test_example_counts(data: Prepared) -> None:
    for batch_size in (1, 5, 8, 64):
        together = feeds(data, 2, batch_size)
        sizes = [
            sum(batch.examples for batch in parts)
            for epoch in range(3)
            for parts in zip(*(feed.epoch(0, epoch) for feed in together), strict=True)
        ]
        assert len(sizes) == 3 * together[0].steps_per_epoch()
        assert min(sizes) > 0
        for steps in range(len(sizes) + 1):
            assert together[0].examples_in(steps) == sum(sizes[:steps])


def test_more_workers_than_lanes(many: dict[str, Prepared]) -> None:
    surplus = feeds(many["lists"], 5)[4]
    batches = list(surplus.epoch(0, 0))
    assert len(batches) == surplus.steps_per_epoch()
    assert sum(batch.rows + batch.examples for batch in batches) == 0
    assert batches[0].categorical.shape == (0, 2)
    assert batches[0].query is not None
    batches = list(feeds(many["lists"], 9)[8].scan("test"))
    assert [batch.examples for batch in batches] == [0]


def test_scan_in_several_batches(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SCAN_ROWS", 6)
    batches = list(feeds(data, 1)[0].scan("train"))
    assert flat(indices(batches)) == list(range(data.schema.examples["train"]))
    assert all(batch.examples * batch.longest <= 6 for batch in batches)
    for batch in batches:
        assert_content(batch, data, "train")


# Memory


class Living:
    """Tracks the bytes of decoded examples that are still referenced."""

    def __init__(self) -> None:
        self.most = 0
        self._bytes: dict[int, int] = {}
        self._lock = threading.RLock()

    def add(self, examples: Examples) -> None:
        key = id(examples)
        with self._lock:
            self._bytes[key] = examples.nbytes
            self.most = max(self.most, sum(self._bytes.values()))
        weakref.finalize(examples, self._remove, key)

    def _remove(self, key: int) -> None:
        with self._lock:
            del self._bytes[key]

    def count(self) -> int:
        return len(self._bytes)


def wide(folder: Path, units: int, rows: int) -> Path:
    """Write rows of 8 numeric columns in units of ``rows`` rows."""
    names = [f"x{column}" for column in range(8)]
    schema = Schema(numeric={name: Numeric() for name in names}, labels={"y": 2})

    def tables(n: int) -> Iterator[pa.Table]:
        for unit in range(n):
            values = np.arange(rows, dtype=np.float32) + unit * rows
            yield pa.table({**dict.fromkeys(names, values), "y": values % 2})

    prepared.write(folder, schema, {"train": tables(units), "valid": tables(1), "test": tables(1)})
    return folder


def watch(monkeypatch: pytest.MonkeyPatch, living: Living) -> None:
    read, take = Split.read, Examples.take

    def watched_read(self: Split, *arguments: Any) -> Examples:
        examples = read(self, *arguments)
        living.add(examples)
        return examples

    def watched_take(self: Examples, *arguments: Any) -> Examples:
        examples = take(self, *arguments)
        living.add(examples)
        return examples

    monkeypatch.setattr(Split, "read", watched_read)
    monkeypatch.setattr(Examples, "take", watched_take)


@pytest.mark.parametrize("units", [12, 48])
def test_memory_is_bounded_by_the_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: int) -> None:
    monkeypatch.setattr(lanes_module, "LANE_COUNTS", (3, 1))
    living = Living()
    watch(monkeypatch, living)
    feed = StreamFeed(str(wide(tmp_path / "data", units, 100)), ["y"], 16, 0)
    assert sum(batch.examples for batch in feed.epoch(0, 0)) == units * 100
    unit = 100 * (9 * 4 + 8)
    # Two units per lane, and the units read ahead, before and after shuffling.
    assert 3 * unit < living.most <= (2 * 3 + 2 * THREADS + 1) * unit
    living.most = 0
    assert sum(batch.examples for batch in feed.scan("train")) == units * 100
    assert living.most <= (2 + THREADS) * unit


def test_the_number_of_lanes_is_limited_by_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(wide(tmp_path / "data", 30, 100))
    found = []
    for units in (0, 6, 24, 300):
        monkeypatch.setattr(stream, "BUFFER_BYTES", units * 100 * (9 * 4 + 8))
        found.append(len(StreamFeed(folder, ["y"], 1000, 0)._lanes("train").units))
    assert found == [1, 3, 12, 24]


def test_the_number_of_lanes_is_limited_by_half_the_batch(tmp_path: Path) -> None:
    folder = str(wide(tmp_path / "data", 30, 10))
    found = [len(StreamFeed(folder, ["y"], size, 0)._lanes("train").units) for size in (1, 7, 16, 1000)]
    assert found == [1, 3, 6, 24]


def test_an_abandoned_pass_frees_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage reads the first batch of its first epoch before it trains, and drops the pass."""
    living = Living()
    watch(monkeypatch, living)
    feed = StreamFeed(str(wide(tmp_path / "data", 12, 100)), ["y"], 16, 0)
    batches = feed.epoch(0, 0)
    first = next(batches)
    assert living.count()
    del batches
    for thread in threading.enumerate():
        if thread.name.startswith("prefetch"):
            thread.join(10)
    assert living.count() == 0
    assert first.examples == 16


# Refusals


def written_rows(tmp_path: Path, rows: int = 40) -> Path:
    return wide(tmp_path / "data", 2, rows)


@pytest.mark.parametrize("feed", [StreamFeed, MemoryFeed])
def test_a_truncated_file_is_named(tmp_path: Path, feed: type[StreamFeed | MemoryFeed]) -> None:
    folder = written_rows(tmp_path)
    path = folder / "train" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"part-00001\.parquet is not a whole Parquet file .*prepare the data set aga"):
        feed(str(folder), ["y"], 8, 0)


def test_a_damaged_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    folder = written_rows(tmp_path, 4000)
    path = folder / "train" / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    feed = StreamFeed(str(folder), ["y"], 8, 0)
    with pytest.raises(ValueError, match=r"part-00001\.parquet is not a whole Parquet file"):
        list(feed.epoch(0, 0))
    with pytest.raises(ValueError, match=r"part-00001\.parquet is not a whole Parquet file"):
        list(feed.scan("train"))


@pytest.mark.parametrize("feed", [StreamFeed, MemoryFeed])
def test_a_missing_file(tmp_path: Path, feed: type[StreamFeed | MemoryFeed]) -> None:
    folder = written_rows(tmp_path)
    (folder / "train" / "part-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"train holds 40 examples in 1 files, its schema\.json says 80; copy"):
        feed(str(folder), ["y"], 8, 0)
    (folder / "train" / "part-00000.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"train holds no Parquet file"):
        feed(str(folder), ["y"], 8, 0)


@pytest.mark.parametrize("feed", [StreamFeed, MemoryFeed])
def test_a_file_without_list_counts(tmp_path: Path, feed: type[StreamFeed | MemoryFeed]) -> None:
    data = mixed_lists(tmp_path / "data")
    path = data.folder / "train" / "part-00001.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    message = r"part-00001\.parquet does not give the number of lists in its row groups; prepare the data set again"
    with pytest.raises(ValueError, match=message):
        feed(str(data.folder), LABELS, BATCH, 0)


def test_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"part-00000\.parquet has no column \['z'\]; it has \['x0', .*'y'\]"):
        StreamFeed(str(written_rows(tmp_path)), ["z"], 8, 0)


@pytest.mark.parametrize(("ids", "found"), [([0, 7], "0 to 7"), ([None, 1], "-1 to 1")])
def test_ids_out_of_range(tmp_path: Path, ids: Sequence[int | None], found: str) -> None:
    rows = pa.table({"c": pa.array(ids, pa.int32()), "y": [0.0, 1.0]})
    prepared.write(
        tmp_path / "data", Schema(categorical={"c": 3}, labels={"y": 2}), {split: [rows] for split in SPLITS}
    )
    with pytest.raises(ValueError, match=f"column 'c' holds ids from {found}, its vocabulary has 0 to 2"):
        list(StreamFeed(str(tmp_path / "data"), ["y"], 8, 0).epoch(0, 0))


def test_packed_nulls(tmp_path: Path) -> None:
    rows = pa.table({"p": pa.array([b"a", None], pa.binary(1)), "y": [0.0, 1.0]})
    prepared.write(tmp_path / "data", Schema(packed={"p": 8}, labels={"y": 2}), {split: [rows] for split in SPLITS})
    with pytest.raises(ValueError, match="packed column 'p' is null in 1 rows"):
        list(StreamFeed(str(tmp_path / "data"), ["y"], 8, 0).scan("train"))


def test_not_a_prepared_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a prepared data set \(no schema.json in it\)"):
        StreamFeed(str(tmp_path), LABELS, BATCH, 0)


def test_a_small_data_set_is_shuffled_as_a_whole(tmp_path: Path) -> None:
    """With one unit the shuffle is exact, except at the edge of its first window."""
    feed = StreamFeed(str(wide(tmp_path / "data", 1, 400)), ["y"], 40, 0)
    first = torch.cat([batch.index for batch in feed.epoch(0, 0)])[:200]
    assert 60 < int((first < 200).sum()) < 140
