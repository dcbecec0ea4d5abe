from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.trainers.data import prepared
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_schema, write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema
from tests.trainers._problems import Prepared, mixed_rows

SCHEMA = Schema(numeric={"x": Numeric()}, labels={"y": 2})


def table(*x: float) -> pa.Table:
    return pa.table({"x": list(x), "y": [1.0] * len(x)})


def splits(*x: float) -> dict[str, list[pa.Table]]:
    return {"train": [table(*x)], "valid": [table(1.0)], "test": [table(2.0)]}


def test_schema_round_trip(rows_data: Prepared, lists_data: Prepared) -> None:
    for data in (rows_data, lists_data):
        assert read_schema(str(data.folder)) == data.schema
        assert Schema.from_json(data.schema.to_json()) == data.schema


def test_counts(rows_data: Prepared, lists_data: Prepared) -> None:
    assert rows_data.schema.rows == rows_data.schema.examples == {"train": 53, "valid": 17, "test": 8}
    assert lists_data.schema.examples == {"train": 41, "valid": 13, "test": 5}
    assert lists_data.schema.rows == {split: len(example) for split, example in lists_data.example.items()}


def test_order_of_features(rows_data: Prepared) -> None:
    assert rows_data.schema.features == ("colour", "shop", "price", "age", "words", "flags")


def test_files_have_the_types_of_the_format(lists_data: Prepared) -> None:
    types = {field.name: field.type for field in pq.read_schema(lists_data.folder / "train" / "part-00001.parquet")}
    assert types == {
        "query": pa.int64(),
        **dict.fromkeys(["colour", "shop"], pa.int32()),
        **dict.fromkeys(["price", "age", "bought", "amount"], pa.float32()),
        "words": pa.binary(2),
        "flags": pa.binary(1),
    }


def test_row_groups_hold_whole_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a quarter of a shard's rows, unless one list has more; the metadata give the number of lists in each."""
    monkeypatch.setattr(prepared, "SHARD_ROWS", 16)
    sizes = [1, 2, 2, 9, 1, 3, 4]
    query = [number for number, size in enumerate(sizes) for _ in range(size)]
    rows = pa.table({"q": query, "x": [float(number) for number in query], "y": [1.0] * len(query)})
    schema = dataclasses.replace(SCHEMA, query="q")
    assert write(tmp_path / "data", schema, {split: [rows] for split in SPLITS}).examples["train"] == len(sizes)
    file = pq.ParquetFile(tmp_path / "data" / "train" / "part-00000.parquet")
    groups = [file.read_row_group(group)["q"].to_pylist() for group in range(file.num_row_groups)]
    assert groups == [[0, 1, 1], [2, 2], [3] * 9, [4, 5, 5, 5], [6] * 4]
    assert json.loads(file.metadata.metadata[prepared.LIST_COUNTS]) == [2, 1, 1, 2, 1]


def test_row_groups_of_wide_rows_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "GROUP_BYTES", 100)
    write(tmp_path / "data", SCHEMA, {split: [table(*range(30))] for split in SPLITS})
    metadata = pq.read_metadata(tmp_path / "data" / "train" / "part-00000.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [12, 12, 6]


def test_the_fingerprint_is_a_hash_of_the_content(tmp_path: Path) -> None:
    one = mixed_rows(tmp_path / "one").schema.fingerprint
    assert mixed_rows(tmp_path / "two").schema.fingerprint == one
    plain = write(tmp_path / "a", SCHEMA, splits(1.0, 2.0))
    assert write(tmp_path / "b", dataclasses.replace(SCHEMA, source="elsewhere"), splits(1.0, 2.0)).fingerprint == (
        plain.fingerprint
    )
    others = [
        write(tmp_path / "c", SCHEMA, splits(1.0, 3.0)),
        write(tmp_path / "d", SCHEMA, splits(2.0, 1.0)),
        write(tmp_path / "e", dataclasses.replace(SCHEMA, numeric={"x": Numeric(mean=1.0)}), splits(1.0, 2.0)),
    ]
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_an_existing_data_set_is_kept(tmp_path: Path) -> None:
    first = write(tmp_path / "data", SCHEMA, splits(1.0))
    assert write(tmp_path / "data", SCHEMA, splits(5.0)) == first
    assert read_schema(str(tmp_path / "data")) == first
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    def tables() -> Iterator[pa.Table]:
        yield table(1.0)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "data", SCHEMA, {**splits(1.0), "test": tables()})
    assert list(tmp_path.iterdir()) == []


def test_missing_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"splits \['test'\] are missing"):
        write(tmp_path / "data", SCHEMA, {"train": [], "valid": []})


def test_packed_bits_may_leave_the_last_byte_unfilled(tmp_path: Path) -> None:
    """``numpy.packbits`` packs 12 bits into 2 bytes."""
    schema = Schema(packed={"words": 12}, labels={"y": 2})
    rows = pa.table({"words": [b"\xff\xf0", b"\x00\x00"], "y": [1.0, 0.0]})
    write(tmp_path / "data", schema, {split: [rows] for split in SPLITS})
    batch = next(iter(MemoryFeed(str(tmp_path / "data"), ["y"], 4, 0).scan("train")))
    assert batch.packed.tolist() == [[255, 240], [0, 0]]


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    """A split without tables is refused by name, when written or when read."""

    def write_and_read() -> None:
        write(tmp_path / "data", SCHEMA, {**splits(1.0), "valid": []})
        MemoryFeed(str(tmp_path / "data"), ["y"], 4, 0)

    with pytest.raises(ValueError, match="valid"):
        write_and_read()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": {}}'])
def test_damaged_schema(text: str) -> None:
    with pytest.raises(ValueError, match="not a prepared schema"):
        Schema.from_json(text)


def test_other_version() -> None:
    text = SCHEMA.to_json().replace('"version": 1', '"version": 2')
    with pytest.raises(ValueError, match="format version 2, this program reads 1"):
        Schema.from_json(text)
