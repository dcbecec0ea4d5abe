"""A valid table of a user, and its preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import table
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Schema

OPTIONS: dict[str, Any] = {"categorical": ["city"], "numeric": ["age"], "labels": {"like": 2}}


def columns(rows: int = 30) -> dict[str, Any]:
    """Return the columns of a valid table; two thirds are training rows."""
    parts = ["train"] * (rows - 10) + ["valid"] * 5 + ["test"] * 5
    return {
        "city": ["ab"[i % 2] for i in range(rows)],
        "age": [float(i) for i in range(rows)],
        "like": [i % 2 for i in range(rows)],
        "split": parts,
    }


def write(folder: Path, content: dict[str, Any], name: str = "table.parquet") -> str:
    file = folder / name
    pq.write_table(pa.table(content), file)
    return str(file)


def run(tmp_path: Path, content: dict[str, Any], **options: Any) -> tuple[Schema, dict[str, pa.Table]]:
    folder = table.prepare(write(tmp_path, content), tmp_path / "cache", **(OPTIONS | options))
    return read_schema(str(folder)), {part: pq.read_table(folder / part) for part in ("train", "valid", "test")}


def refuse(tmp_path: Path, content: dict[str, Any], match: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=match):
        run(tmp_path, content, **options)
    assert not list((tmp_path / "cache").glob("*")), "a refused table must leave nothing behind"
