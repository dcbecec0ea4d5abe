"""Types that pandas, polars and Spark write: accepted and encoded alike again, or refused with the column's name."""

from __future__ import annotations

import datetime
import decimal
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import table
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_encoder, read_schema
from nmt.trainers.encoding.encoder import Encoder

N = 60
FIVE = [number % 5 for number in range(N)]

TOKENS: dict[str, pa.Array] = {
    "string_view": pa.array([f"a{i}" for i in FIVE], pa.string_view()),
    "large_string": pa.array([f"a{i}" for i in FIVE], pa.large_string()),
    "dictionary": pa.array([f"a{i}" for i in FIVE]).dictionary_encode(),
    "uuid": pa.array([uuid.UUID(int=i).bytes for i in FIVE], pa.uuid()),
    "json": pa.array([f'{{"a": {i}}}' for i in FIVE], pa.json_()),
    "fixed binary": pa.array([bytes([i, 7]) for i in FIVE], pa.binary(2)),
    "binary": pa.array([bytes([i]) for i in FIVE]),
    "large integers": pa.array([2**60 + i for i in FIVE]),
    "unsigned": pa.array([2**63 + i for i in FIVE], pa.uint64()),
    "float16": pa.array(np.array(FIVE, np.float16)),
    "decimal": pa.array([decimal.Decimal(i) for i in FIVE]),
    "date": pa.array([datetime.date(2026, 1, 1 + i) for i in FIVE]),
    "time": pa.array([datetime.time(1, i) for i in FIVE]),
    "timestamp": pa.array([datetime.datetime(2026, 1, 1, i) for i in FIVE]),
    "zone": pa.array([datetime.datetime(2026, 1, 1, i, tzinfo=datetime.UTC) for i in FIVE]),
    "duration": pa.array([datetime.timedelta(i) for i in FIVE]),
    "boolean": pa.array([i % 2 == 0 for i in FIVE]),
}


def write(folder: Path, column: pa.Array) -> pa.Table:
    rows = pa.table(
        {
            "split": np.repeat(["train", "valid", "test"], N // 3),
            "x": np.random.default_rng(0).normal(size=N),
            "y": np.arange(N) % 2.0,
            "c": column,
        }
    )
    pq.write_table(rows, folder / "rows.parquet")
    return pq.read_table(folder / "rows.parquet")


def prepare(folder: Path, **roles: Any) -> Path:
    given: dict[str, Any] = {"numeric": ["x"], "labels": ["y"], **roles}
    return Path(table.prepare(str(folder / "rows.parquet"), folder / "cache", **given))


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(tmp_path: Path, name: str) -> None:
    rows = write(tmp_path, TOKENS[name])
    folder = prepare(tmp_path, categorical=["c"])
    schema = read_schema(str(folder))
    assert schema.categorical["c"] == len(set(TOKENS[name].to_pylist())) + 2
    encoder = read_encoder(str(folder), schema)
    again = Encoder.from_files(encoder.to_files())
    assert again.categorical["c"].tokens.equals(encoder.categorical["c"].tokens)
    feed = MemoryFeed(str(folder), ["y"], 8, 0)
    found = np.concatenate([batch.categorical.numpy() for batch in feed.scan("test")])
    np.testing.assert_array_equal(found, again.encode(rows.slice(40)).categorical)
    assert (found < schema.categorical["c"] - 1).all()  # every token of the test rows was seen in training


@pytest.mark.parametrize(
    ("column", "role", "message"),
    [
        (TOKENS["large integers"], "numeric", r"numeric column 'c' holds int64 that no floating-point number can hold"),
        (TOKENS["unsigned"], "labels", r"label column 'c' holds uint64 that no floating-point number can hold"),
        (TOKENS["uuid"], "numeric", r"numeric column 'c' holds extension<arrow.uuid>; numbers are needed"),
        (TOKENS["string_view"], "labels", r"label column 'c' holds string_view; numbers are needed"),
        (pa.array([[1, 2]] * N), "categorical", r"categorical column 'c' holds list<element: int64>; give one token"),
        (pa.array([{"a": 1}] * N), "categorical", r"categorical column 'c' holds struct"),
    ],
)
def test_refusals_name_the_column(tmp_path: Path, column: pa.Array, role: str, message: str) -> None:
    write(tmp_path, column)
    roles: dict[str, Any] = {"numeric": {"numeric": ["x", "c"]}, "labels": {"labels": ["y", "c"]}}.get(
        role, {"categorical": ["c"]}
    )
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, **roles)


def test_a_column_that_occurs_twice(tmp_path: Path) -> None:
    rows = write(tmp_path, TOKENS["date"])
    twice = pa.table([*rows.columns, rows["x"]], names=[*rows.column_names, "x"])
    pq.write_table(twice, tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"column 'x' occurs 2 times in .*rows\.parquet; rename or drop all but one"):
        prepare(tmp_path)
