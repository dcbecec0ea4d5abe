"""Splits of a user's table: by time, and at random by group."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import table
from nmt.experiments.data.table.raw_table import MemoryTable
from nmt.experiments.data.table.splits import Splitter
from nmt.trainers.data.prepared import read_schema

DAYS = pa.array([date(2026, 11, 1 + day % 20) for day in range(100)])


def split_of(rows: dict[str, Any], declared: Any, query: str | None = None) -> np.ndarray:
    return np.asarray(Splitter.of(declared, query).split(MemoryTable(pa.table(rows))))


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        pa.array(np.arange(100) % 20),
        pa.array([datetime(2026, 11, 1 + day % 20, tzinfo=UTC) for day in range(100)]),
        pa.array([f"2026-11-{1 + day % 20:02}" for day in range(100)]),
    ],
    ids=["dates", "integers", "timestamps", "text"],
)
def test_the_latest_rows_come_last_and_a_time_lies_in_one_split(times: pa.Array) -> None:
    found = split_of({"ts": times}, {"by": "time", "column": "ts", "valid": 0.1, "test": 0.2})
    assert np.bincount(found).tolist() == [70, 10, 20]
    by_time = np.arange(100) % 20
    assert by_time[found == 0].max() < by_time[found == 1].min()
    assert by_time[found == 1].max() < by_time[found == 2].min()


def test_cut_points() -> None:
    declared = {"by": "time", "column": "day", "valid_from": "2026-11-11", "test_from": "2026-11-16"}
    assert np.bincount(split_of({"day": DAYS}, declared)).tolist() == [50, 25, 25]
    numbers = {"by": "time", "column": "day", "valid_from": 10, "test_from": 15}
    assert np.bincount(split_of({"day": np.arange(100) % 20}, numbers)).tolist() == [50, 25, 25]


def test_a_user_lies_in_one_split_and_stays_there_when_rows_are_added() -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 500, 6000)
    declared = {"by": "random", "valid": 0.2, "test": 0.1, "group": "user"}
    found = split_of({"user": users}, declared)
    of_user = {user: set(found[users == user]) for user in range(500)}
    assert all(len(splits) == 1 for splits in of_user.values())
    shares = np.bincount(found, minlength=3) / len(found)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.06)
    more = np.concatenate([rng.integers(0, 900, 3000), users])
    later = split_of({"user": more}, declared)
    np.testing.assert_array_equal(later[3000:], found)
    assert (split_of({"user": users}, {**declared, "seed": 1}) != found).any()


def test_at_random_by_row() -> None:
    rows = {"x": np.zeros(20_000)}
    found = split_of(rows, {"by": "random"})
    np.testing.assert_allclose(np.bincount(found) / 20_000, [0.8, 0.1, 0.1], atol=0.01)
    np.testing.assert_array_equal(found, split_of(rows, {"by": "random"}))


def test_lists_stay_whole() -> None:
    query = np.repeat(np.arange(200), 5)
    found = split_of({"q": query}, {"by": "random"}, "q").reshape(200, 5)
    assert (found == found[:, :1]).all()


def test_a_whole_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table({"ts": np.arange(100), "x": rng.normal(size=100), "y": rng.integers(0, 2, 100).astype(float)})
    pq.write_table(rows, tmp_path / "rows.parquet")
    options: dict[str, Any] = {"numeric": ["x"], "labels": {"y": 2}}
    folder = table.prepare(
        str(tmp_path / "rows.parquet"), tmp_path / "cache", split={"by": "time", "column": "ts"}, **options
    )
    assert read_schema(str(folder)).rows == {"train": 80, "valid": 10, "test": 10}
    with pytest.raises(
        ValueError, match=r"no column 'split' that says .*\{by: time, column: ts, valid: 0.1, test: 0.1\}"
    ):
        table.prepare(str(tmp_path / "rows.parquet"), tmp_path / "cache", **options)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"by": "day"}, r"split.by is 'day'; give \{by: time"),
        ({}, "split.by is 'None'; give"),
        ({"by": "random", "column": "x"}, r"split has the keys \['column'\]; with by: random allowed are"),
        ({"by": "time"}, "split by time needs column"),
        ({"by": "time", "column": "ts", "valid_from": 3}, "needs valid_from and test_from together"),
        ({"by": "random", "valid": 0}, "split.valid is 0; give a share"),
        ({"by": "random", "test": "much"}, "split.test is 'much'; give a share"),
        ({"by": "random", "valid": 0.5, "test": 0.5}, "nothing is left to train"),
        ({"by": "random", "seed": 0.5}, "split.seed is 0.5; give a whole number"),
    ],
)
def test_declarations_that_say_nothing(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Splitter.of(declared)


@pytest.mark.parametrize(
    ("rows", "declared", "message"),
    [
        ({"ts": [1, None, 3]}, {"by": "time", "column": "ts"}, "split column 'ts' is null in row 1; every row needs"),
        ({"ts": [1, 1, 1]}, {"by": "time", "column": "ts"}, "the split leaves train 0, valid 0, test 3 rows"),
        (
            {"ts": [1, 2, 3]},
            {"by": "time", "column": "ts", "valid_from": "May", "test_from": "June"},
            "split at 'May': column 'ts' holds int64; give a value of that kind",
        ),
        ({"u": ["a", "a"]}, {"by": "random", "group": "u"}, "the split leaves"),
    ],
)
def test_rows_that_cannot_be_split(rows: dict[str, Any], declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_of({name: pa.array(values) for name, values in rows.items()}, declared)
