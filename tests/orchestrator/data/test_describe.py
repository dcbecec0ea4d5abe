"""Descriptions of prepared folders, and folders that cannot be trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.orchestrator.data.describe import describe
from nmt.orchestrator.errors import RequestError
from nmt.trainers.data.prepared import read_schema, write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema

SCHEMA = Schema(
    categorical={"token": 9},
    numeric={"x": Numeric(0.0, 1.0)},
    labels={"like": 2, "stars": 3, "amount": 0},
    source="made up",
)


def table(rows: int = 100, **changed: Any) -> pa.Table:
    numbers = np.arange(rows)
    columns = {
        "token": numbers % 8 + 1,
        "x": numbers / rows,
        "like": numbers % 4 == 0,
        "stars": numbers % 3,
        "amount": pa.array(numbers / 2, mask=numbers % 5 == 0),
    }
    return pa.table(columns | changed)


def made(tmp_path: Path, schema: Schema = SCHEMA, **tables: pa.Table) -> Path:
    place = tmp_path / "data"
    write(place, schema, {split: [tables.get(split, table())] for split in SPLITS})
    return place


def test_rates(tmp_path: Path) -> None:
    found = describe(str(made(tmp_path, valid=table(40))))
    assert found.problems == ()
    assert found.schema.rows == {"train": 100, "valid": 40, "test": 100}
    like, amount = found.labels["like"], found.labels["amount"]
    assert like["train"].mean == 0.25
    assert like["valid"].classes == (30, 10)
    assert found.labels["stars"]["train"].classes == (34, 33, 33)
    assert (amount["train"].labelled, amount["train"].missing) == (80, 20)
    assert (amount["train"].low, amount["train"].high) == (0.5, 49.5)
    assert [pair.tasks for pair in found.conflicts] == [("like", "amount")]
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["labels"]["like"]["train"]["mean"] == 0.25
    assert document["problems"] == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"like": [0.0] * 100}, "label 'like' of split 'train' is 0 in every row; there is nothing to learn"),
        ({"like": [0.0, 2.0] * 50}, "label 'like' of split 'train' has 0 to 2, its classes are 0 to 1"),
        ({"amount": pa.nulls(100, pa.float32())}, "label 'amount' of split 'train' is missing in every row"),
        ({"amount": [1.0, float("inf")] * 50}, "label 'amount' of split 'train' holds a number that is not finite"),
        ({"token": [1, 9] * 50}, "column 'token' of split 'train' holds ids from 1 to 9, its vocabulary has 0 to 8"),
        ({"token": [-1, 1] * 50}, "column 'token' of split 'train' holds ids from -1 to 1"),
        ({"token": pa.array([1, None] * 50)}, "column 'token' is null in 50 rows of split 'train'"),
        ({"x": [1.0, float("inf")] * 50}, "column 'x' of split 'train' holds a number that is not finite"),
    ],
)
def test_columns_that_cannot_be_trained_on(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    found = describe(str(made(tmp_path, train=table(**changed))))
    assert len(found.problems) == 1
    assert problem in found.problems[0]
    assert found.conflicts == ()


def test_one_class_in_test_alone_can_be_trained_on(tmp_path: Path) -> None:
    assert describe(str(made(tmp_path, test=table(like=[1.0] * 100)))).problems == ()


def empty(place: Path) -> None:
    schema = read_schema(str(place))
    (place / "schema.json").write_text(replace(schema, examples={**schema.examples, "valid": 0}).to_json())


def cut(place: Path) -> None:
    file = next((place / "valid").iterdir())
    file.write_bytes(file.read_bytes()[:-20])


def lose(place: Path) -> None:
    next((place / "valid").iterdir()).unlink()


def fewer(place: Path) -> None:
    file = next((place / "valid").iterdir())
    pq.write_table(pq.read_table(file).slice(1), file)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (empty, "split 'valid' is empty"),
        (cut, "is not a whole Parquet file"),
        (lose, "holds no Parquet file"),
        (fewer, "holds 99 examples in 1 files, its schema.json says 100"),
    ],
)
def test_broken_folders(tmp_path: Path, damage: Callable[[Path], None], problem: str) -> None:
    place = made(tmp_path)
    damage(place)
    found = describe(str(place))
    assert len(found.problems) == 1
    assert problem in found.problems[0]


def test_no_prepared_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is not a prepared data set"):
        describe(str(tmp_path))
