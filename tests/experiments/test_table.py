"""The user's own table: what each column becomes, and every refusal at the front door."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.data import table
from trainers.data import prepared
from trainers.data.prepared import read_schema
from trainers.data.schema import Schema

OPTIONS: dict[str, Any] = {"categorical": ["city"], "numeric": ["age"], "labels": {"like": 2}}


def columns(rows: int = 30) -> dict[str, Any]:
    """A good table: two thirds training rows."""
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


# What columns become


def test_types_rows_and_source(tmp_path: Path) -> None:
    schema, parts = run(tmp_path, columns())
    assert schema.rows == schema.examples == {"train": 20, "valid": 5, "test": 5}
    assert schema.source.endswith("table.parquet")
    assert parts["train"].schema.types == [pa.int32(), pa.float32(), pa.float32()]
    assert parts["valid"]["age"].to_pylist() == [20, 21, 22, 23, 24]


def test_min_count_keeps_ten_and_drops_nine(tmp_path: Path) -> None:
    content = columns(40)
    # 'ten' is in ten training rows, 'nine' in nine; in valid both are frequent, which must not count.
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
    # Within a list the order of the table stays.
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
    # The second file stores its labels wider and its text as a dictionary.
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
    monkeypatch.setattr(table, "build", None)
    assert table.prepare(path, tmp_path / "cache", **OPTIONS) == first


def test_other_options_or_a_changed_file_are_prepared_anew(tmp_path: Path) -> None:
    path = write(tmp_path, columns())
    first = table.prepare(path, tmp_path / "cache", **OPTIONS)
    other = table.prepare(path, tmp_path / "cache", **OPTIONS, min_count=2)
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = table.prepare(path, tmp_path / "cache", **OPTIONS)
    assert len({first, other, touched}) == 3
    # Where a table lies and when it was written does not change what it is.
    assert read_schema(str(first)).fingerprint == read_schema(str(touched)).fingerprint
    assert json.loads((first / "schema.json").read_text())["source"] == path


# Refusals: the file


def test_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.path to a Parquet file"):
        table.prepare(None, tmp_path, **OPTIONS)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.parquet does not exist"):
        table.prepare(str(tmp_path / "nowhere.parquet"), tmp_path, **OPTIONS)


def test_folder_without_parquet(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.parquet; it has \['data\.csv'\]"):
        table.prepare(str(tmp_path), tmp_path / "cache", **OPTIONS)


@pytest.mark.parametrize("keep", [0, 3, 200])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    path = Path(write(tmp_path, columns()))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"table\.parquet \({keep} bytes\) cannot be read as Parquet.*truncated"):
        table.prepare(str(path), tmp_path / "cache", **OPTIONS)


def test_damaged_page(tmp_path: Path) -> None:
    path = Path(write(tmp_path, columns()))
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"table\.parquet.*cannot be read as Parquet"):
        table.prepare(str(path), tmp_path / "cache", **OPTIONS)


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source, columns(), "a.parquet")
    write(source, columns() | {"city": list(range(30))}, "b.parquet")
    with pytest.raises(ValueError, match=r"column 'city' has the types \['int64', 'string'\]"):
        table.prepare(str(source), tmp_path / "cache", **OPTIONS)


def test_row_numbers_name_the_file_of_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source, columns(), "a.parquet")
    bad = columns()
    bad["like"][7] = 2
    write(source, bad, "b.parquet")
    with pytest.raises(ValueError, match=r"label 'like' is 2 in row 7 \(counted from 0\) of .*b\.parquet"):
        table.prepare(str(source), tmp_path / "cache", **OPTIONS)


# Refusals: the columns


def test_missing_columns(tmp_path: Path) -> None:
    refuse(
        tmp_path,
        columns(),
        r"has no column \['town'\]; it has \['city', 'age', 'like', 'split'\]",
        categorical=["town"],
    )


def test_missing_split_column(tmp_path: Path) -> None:
    refuse(tmp_path, columns(), r"has no column \['fold'\]", split="fold")


@pytest.mark.parametrize("value", ["validation", None])
def test_unknown_split(tmp_path: Path, value: str | None) -> None:
    content = columns()
    content["split"][22] = value
    refuse(tmp_path, content, rf"holds {value!r} in row 22 .*allowed are \['train', 'valid', 'test'\].*in 1 rows")


def test_empty_split(tmp_path: Path) -> None:
    content = columns() | {"split": ["train"] * 20 + ["test"] * 10}
    refuse(tmp_path, content, "split 'valid' is empty: column 'split' holds 'train' in 20 rows, 'test' in 10 rows")


def test_table_without_rows(tmp_path: Path) -> None:
    empty = {name: pa.array(values)[:0] for name, values in columns().items()}
    refuse(tmp_path, empty, "split 'train' is empty.*no row at all")


def test_text_as_number(tmp_path: Path) -> None:
    refuse(tmp_path, columns(), "numeric column 'city' holds string", categorical=[], numeric=["city"])


def test_list_as_token(tmp_path: Path) -> None:
    refuse(tmp_path, columns() | {"city": [[1]] * 30}, "categorical column 'city' holds list")


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e300])
def test_infinite_number(tmp_path: Path, value: float) -> None:
    content = columns()
    content["age"][4] = value
    refuse(tmp_path, content, "numeric column 'age' holds .* in row 4 ")


def test_negative_count(tmp_path: Path) -> None:
    content = columns()
    content["age"][4] = -1.0
    refuse(tmp_path, content, r"numeric column 'age' holds -1.0 in row 4 .*log1p", log1p=["age"])


def test_numeric_without_a_value(tmp_path: Path) -> None:
    refuse(tmp_path, columns() | {"age": [None] * 20 + [1.0] * 10}, "'age' has no value in the training split")


# Refusals: the labels


@pytest.mark.parametrize(("value", "shown"), [(2.0, "2"), (-1.0, "-1"), (0.5, "0.5")])
def test_label_out_of_range(tmp_path: Path, value: float, shown: str) -> None:
    content = columns()
    content["like"][25] = value
    content["like"] = [float(value) for value in content["like"]]
    refuse(tmp_path, content, rf"label 'like' is {shown} in row 25 .*allowed are the classes 0 … 1 and null")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("classes", [0, 2, None])
def test_label_not_finite(tmp_path: Path, value: float, classes: int | None) -> None:
    content = columns()
    content["like"] = [value if i == 3 else float(x) for i, x in enumerate(content["like"])]
    refuse(tmp_path, content, r"label 'like' is .* in row 3 .*finite numbers", labels={"like": classes})


def test_label_of_one_class(tmp_path: Path) -> None:
    content = columns() | {"like": [0] * 20 + [0, 1] * 5}
    refuse(tmp_path, content, "label 'like' is 0 in every training row.*at least two classes")


def test_label_missing_in_a_split(tmp_path: Path) -> None:
    content = columns() | {"like": pa.array([0, 1] * 10 + [None] * 5 + [0, 1, 0, 1, 0])}
    refuse(tmp_path, content, "label 'like' is null in every row of split 'valid'")


def test_text_label(tmp_path: Path) -> None:
    refuse(tmp_path, columns() | {"like": ["yes", "no"] * 15}, "label column 'like' holds string.*code the classes")


# Refusals: packed and query


@pytest.mark.parametrize(("value", "found"), [(b"a", "1 bytes"), (None, "null")])
def test_packed_of_wrong_width(tmp_path: Path, value: bytes | None, found: str) -> None:
    rows = [b"ab"] * 29 + [value]
    refuse(tmp_path, columns() | {"bits": rows}, rf"'bits' is {found} in row 29 .*16 bits are 2", packed={"bits": 16})


def test_packed_of_wrong_type(tmp_path: Path) -> None:
    refuse(tmp_path, columns(), "packed column 'city' holds string", categorical=[], packed={"city": 8})


def test_query_in_two_splits(tmp_path: Path) -> None:
    content = columns() | {"query": [0] * 19 + [1, 1] + [2] * 9}
    content["split"] = ["train"] * 20 + ["valid"] * 5 + ["test"] * 5
    refuse(tmp_path, content, r"two splits: row 19 .* is in train, row 20 .* in valid", query="query")


def test_null_query(tmp_path: Path) -> None:
    refuse(tmp_path, columns() | {"query": [0] * 29 + [None]}, "'query' is null in row 29", query="query")


def test_real_query(tmp_path: Path) -> None:
    refuse(tmp_path, columns() | {"query": [0.5] * 30}, "'query' holds double", query="query")


# Refusals: the options


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"categorical": "city"}, r"categorical is the text 'city'; give a list of columns, e\.g\. \[city\]"),
        ({"labels": "like"}, "labels is the text 'like'"),
        ({"labels": []}, "labels is empty"),
        ({"labels": ["like", "like"]}, r"labels names \['like'\] more than once"),
        ({"labels": {"like": 1}}, "label 'like' is said to have 1 classes"),
        ({"labels": {"like": "binary"}}, "label 'like' is said to have 'binary' classes"),
        ({"categorical": [], "numeric": []}, "there is no feature column"),
        ({"numeric": ["age", "like"]}, "column 'like' is named under labels and under numeric"),
        ({"numeric": ["age", "age"]}, "column 'age' is named under numeric and under numeric"),
        ({"categorical": ["split"]}, "column 'split' is named under split and under categorical"),
        ({"min_count": 0}, "min_count is 0"),
        ({"min_count": "few"}, "min_count is 'few'"),
        ({"log1p": ["height"]}, r"log1p names \['height'\], allowed are the numeric columns \['age'\]"),
        ({"packed": {"bits": 12}}, "packed column 'bits' is said to hold 12 bits"),
        ({"packed": ["bits"]}, r"packed is \['bits'\]; give column: number of bits"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    refuse(tmp_path, columns(), match, **options)
