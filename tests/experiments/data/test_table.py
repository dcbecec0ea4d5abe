"""A user's own table: encoded columns, order of rows, and the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import table
from nmt.experiments.data.table import source
from nmt.trainers.data import prepared
from nmt.trainers.data.prepared import read_schema
from tests.experiments._table import OPTIONS, columns, run, write

# Encoded columns


def test_types_rows_and_source(tmp_path: Path) -> None:
    schema, parts = run(tmp_path, columns())
    assert schema.rows == schema.examples == {"train": 20, "valid": 5, "test": 5}
    assert schema.source.endswith("table.parquet")
    assert parts["train"].schema.types == [pa.int32(), pa.float32(), pa.float32()]
    assert parts["valid"]["age"].to_pylist() == [20, 21, 22, 23, 24]


def test_min_count_keeps_ten_and_drops_nine(tmp_path: Path) -> None:
    content = columns(40)
    # 'ten' is in ten training rows, 'nine' in nine. Rows of the valid split must not count.
    content["city"] = ["ten"] * 10 + ["nine"] * 9 + ["common"] * 11 + ["nine", "ten", "unseen", None, "common"] * 2
    schema, parts = run(tmp_path, content, min_count=10)
    assert schema.categorical == {"city": 4}  # PAD, common, ten, OOV
    assert parts["train"]["city"].to_pylist() == [2] * 10 + [3] * 9 + [1] * 11
    assert parts["valid"]["city"].to_pylist() == [3, 2, 3, 3, 1]


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        ([7, 5], pa.int64()),
        (["y", "x"], pa.large_string()),
        (["y", "x"], pa.dictionary(pa.int8(), pa.string())),
        ([True, False], pa.bool_()),
        ([2.0, 1.0], pa.float32()),
    ],
)
def test_tokens_of_any_type_are_numbered_in_order(tmp_path: Path, tokens: list[Any], kind: pa.DataType) -> None:
    content = columns()
    content["city"] = pa.array([*tokens, None] * 10).cast(kind)
    schema, parts = run(tmp_path, content)
    assert schema.categorical == {"city": 4}
    assert parts["train"]["city"].to_pylist()[:3] == [2, 1, 3]


def test_nan_token_is_oov(tmp_path: Path) -> None:
    content = columns()
    content["city"] = [1.0, float("nan")] * 15
    schema, parts = run(tmp_path, content)
    assert schema.categorical == {"city": 3}
    assert parts["train"]["city"].to_pylist()[:2] == [1, 2]


def test_numeric_statistics_come_from_training_and_gaps_become_the_mean(tmp_path: Path) -> None:
    content = columns()
    content["age"] = [1.0, 3.0, None, float("nan")] * 5 + [None, 100.0, 100.0, 100.0, 100.0] * 2
    schema, parts = run(tmp_path, content)
    assert (schema.numeric["age"].mean, schema.numeric["age"].std) == (2.0, 1.0)
    assert parts["train"]["age"].to_pylist()[:4] == [1, 3, 2, 2]
    assert parts["valid"]["age"].to_pylist() == [2, 100, 100, 100, 100]


def test_log1p(tmp_path: Path) -> None:
    schema, parts = run(tmp_path, columns(), log1p=["age"])
    expected = np.log1p(np.arange(20))
    np.testing.assert_allclose(parts["train"]["age"], expected, rtol=1e-6)
    assert schema.numeric["age"].mean == pytest.approx(expected.mean())


@pytest.mark.parametrize("value", [5.0, 0.1, 1e6 + 0.1])
def test_constant_numeric_has_unit_std(tmp_path: Path, value: float) -> None:
    schema, _ = run(tmp_path, columns() | {"age": [value] * 30})
    assert schema.numeric["age"].std == 1.0


def test_missing_label_stays_null(tmp_path: Path) -> None:
    content = columns()
    content["like"] = pa.array([None, *content["like"][1:]], pa.int8())
    _, parts = run(tmp_path, content)
    assert parts["train"]["like"].to_pylist()[:3] == [None, 1, 0]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1], 2),
        ([0.0, 1.0], 2),
        ([False, True], 2),
        ([0, 2], 3),
        ([0, 1, None, 4], 5),
        ([0.0, 2.0], 0),
        ([0.5, 1.0], 0),
        ([-1, 1], 0),
        ([0, 5000], 0),
    ],
)
def test_number_of_classes_is_inferred(tmp_path: Path, values: list[Any], classes: int) -> None:
    schema, _ = run(tmp_path, columns() | {"like": (values * 30)[:30]}, labels=["like"])
    assert schema.labels == {"like": classes}


def test_labels_keep_their_order(tmp_path: Path) -> None:
    schema, _ = run(tmp_path, columns() | {"b": [0, 1] * 15, "a": [1, 0] * 15}, labels=["b", "like", "a"])
    assert list(schema.labels) == ["b", "like", "a"]


def test_packed(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (30, 16), dtype=np.uint8)
    rows = [np.packbits(row).tobytes() for row in bits]
    schema, parts = run(tmp_path, columns() | {"bits": rows}, packed={"bits": 16})
    assert schema.packed == {"bits": 16}
    assert parts["train"]["bits"].type == pa.binary(2)
    assert parts["train"]["bits"].to_pylist() == rows[:20]


@pytest.mark.parametrize("text", [False, True])
def test_rows_of_a_query_become_adjacent(tmp_path: Path, text: bool) -> None:
    content = columns()
    keys = [i % 4 for i in range(20)] + [4, 5, 4, 5, 4] + [6] * 5
    content["query"] = [f"q{key}" for key in keys] if text else keys
    schema, parts = run(tmp_path, content, query="query")
    assert schema.examples == {"train": 4, "valid": 2, "test": 1}
    assert parts["train"]["query"].to_pylist() == sorted(keys[:20])
    # Within a list, rows keep the order of the table.
    assert parts["train"]["age"].to_pylist()[:5] == [0, 4, 8, 12, 16]
    assert parts["valid"]["age"].to_pylist() == [20, 22, 24, 21, 23]


def test_shards_never_cut_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "SHARD_ROWS", 8)
    content = columns()
    content["query"] = [0] * 3 + [1] * 4 + [2] * 10 + [3] * 3 + [4] * 5 + [5] * 5
    folder = table.prepare(write(tmp_path, content), tmp_path / "cache", query="query", **OPTIONS)
    shards = [pq.read_table(file)["query"].to_pylist() for file in sorted((folder / "train").iterdir())]
    assert shards == [[0] * 3 + [1] * 4, [2] * 10, [3] * 3]


def test_a_folder_reads_as_one_table(tmp_path: Path) -> None:
    content = columns()
    source = tmp_path / "source"
    source.mkdir()
    write(source, {name: values[:12] for name, values in content.items()}, "a.parquet")
    # The second file has another integer type for labels, and text as a dictionary.
    rest = {name: values[12:] for name, values in content.items()}
    rest |= {"like": pa.array(rest["like"], pa.int8()), "city": pa.array(rest["city"]).dictionary_encode()}
    write(source, rest, "b.parquet")
    folder = table.prepare(str(source), tmp_path / "cache", **OPTIONS)
    whole = table.prepare(write(tmp_path, content), tmp_path / "cache", **OPTIONS)
    assert read_schema(str(folder)).fingerprint == read_schema(str(whole)).fingerprint


# The cache


def test_same_file_and_options_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, columns())
    first = table.prepare(path, tmp_path / "cache", **OPTIONS)
    monkeypatch.setattr(source, "build", None)
    assert table.prepare(path, tmp_path / "cache", **OPTIONS) == first


def test_other_options_or_a_changed_file_are_prepared_anew(tmp_path: Path) -> None:
    path = write(tmp_path, columns())
    first = table.prepare(path, tmp_path / "cache", **OPTIONS)
    other = table.prepare(path, tmp_path / "cache", **OPTIONS, min_count=2)
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = table.prepare(path, tmp_path / "cache", **OPTIONS)
    assert len({first, other, touched}) == 3
    # The fingerprint does not depend on path and time of the file.
    assert read_schema(str(first)).fingerprint == read_schema(str(touched)).fingerprint
    assert json.loads((first / "schema.json").read_text())["source"] == path
