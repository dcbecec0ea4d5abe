"""A user's own table: everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nmt.experiments.data import table
from tests.experiments._table import OPTIONS, columns, refuse, write

# The file


def test_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.path to a Parquet file"):
        table.prepare(None, tmp_path, **OPTIONS)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.parquet does not exist"):
        table.prepare(str(tmp_path / "nowhere.parquet"), tmp_path, **OPTIONS)


def test_folder_without_parquet(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.parquet .*; it has \['data\.csv'\]"):
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


# The columns


def test_missing_columns(tmp_path: Path) -> None:
    refuse(
        tmp_path,
        columns(),
        r"has no column \['town'\]; it has \['city', 'age', 'like', 'split'\]",
        categorical=["town"],
    )


def test_missing_split_column(tmp_path: Path) -> None:
    refuse(tmp_path, columns(), r"has no column 'fold' that says .*\{by: random, valid: 0.1", split="fold")


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


# The labels


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


# Packed and query


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


# The options


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
