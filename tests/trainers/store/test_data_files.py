"""Which files of a folder are data, for a table to train on and for rows to predict alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data.table.raw_table import ParquetTable
from nmt.orchestrator.models.rows import RowFiles
from nmt.trainers.store.data_files import data_files

ROOT = Path(__file__).parents[3]


def write(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": pa.array(numbers, pa.int64())}), path)


def numbers_of(folder: Path) -> list[int]:
    """What a table reads; what predictions read must be the same."""
    table = ParquetTable(str(folder)).column("x").to_pylist()
    rows = [value for batch in RowFiles(str(folder)).batches(["x"]) for value in batch["x"].to_pylist()]
    assert rows == table
    return list(table)


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    for place, name in enumerate(["b.parquet", "a.parquet", "deep/er/c.parquet"]):
        write(tmp_path / name, place)
    for name in (
        "_x.parquet",
        ".x.parquet",
        "._a.parquet",
        "_temporary/0/x.parquet",
        ".hidden/x.parquet",
        "deep/_x/y.parquet",
    ):
        write(tmp_path / name, 99)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README.txt").write_text("rows")
    assert numbers_of(tmp_path) == [1, 0, 2]


def test_a_folder_above_that_begins_with_an_underscore_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path / "_mine" / ".data" / "a.parquet", 1)
    assert numbers_of(tmp_path / "_mine" / ".data") == [1]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.parquet", 1)
    write(tmp_path / "single.parquet", 2)
    rows = tmp_path / "rows"
    write(rows / "own.parquet", 3)
    (rows / "linked").symlink_to(tmp_path / "elsewhere")
    (rows / "file.parquet").symlink_to(tmp_path / "single.parquet")
    (rows / "circle").symlink_to(rows)
    (rows / "gone.parquet").symlink_to(tmp_path / "nowhere.parquet")
    assert sorted(numbers_of(rows)) == [1, 2, 3]
    link = tmp_path / "link"
    link.symlink_to(rows)
    assert sorted(numbers_of(link)) == [1, 2, 3]


def test_folders_named_column_equals_value_give_a_column(tmp_path: Path) -> None:
    write(tmp_path / "split=train" / "day=1" / "a.parquet", 1, 2)
    write(tmp_path / "split=train" / "day=12" / "a.parquet", 3)
    write(tmp_path / "split=valid" / "day=__HIVE_DEFAULT_PARTITION__" / "a.parquet", 4)
    write(tmp_path / "split=te%20st" / "day=-3" / "a.parquet", 5)
    table = ParquetTable(str(tmp_path))
    assert set(table.names) == {"x", "split", "day"}
    found = dict(zip(table.column("x").to_pylist(), table.column("split").to_pylist(), strict=True))
    assert found == {1: "train", 2: "train", 3: "train", 4: "valid", 5: "te st"}
    days = dict(zip(table.column("x").to_pylist(), table.column("day").to_pylist(), strict=True))
    assert days == {1: 1, 2: 1, 3: 12, 4: None, 5: -3}
    (rows,) = [pa.concat_tables(RowFiles(str(tmp_path)).batches(["x", "split", "day"]))]
    assert dict(zip(rows["x"].to_pylist(), rows["day"].to_pylist(), strict=True)) == days


def test_files_that_are_partitioned_differently_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "day=1" / "a.parquet", 1)
    write(tmp_path / "b.parquet", 2)
    with pytest.raises(ValueError, match=r"b\.parquet lies in no folder day=…, as other files do"):
        ParquetTable(str(tmp_path))


def test_the_same_rule_on_an_object_store(tmp_path: Path) -> None:
    """``SubTreeFileSystem`` is no local file system to the rule, as S3 is none."""
    write(tmp_path / "rows" / "day=1" / "a.parquet", 1)
    write(tmp_path / "rows" / "_tmp" / "a.parquet", 9)
    remote = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    (found,) = data_files(remote, "rows", (".parquet",))
    assert (found.path, found.columns) == ("rows/day=1/a.parquet", {"day": "1"})
    (alone,) = data_files(remote, found.path, (".parquet",))
    assert alone.path == found.path
    assert data_files(remote, "nowhere", (".parquet",)) == []


def test_a_partitioned_table_is_trained_on(tmp_path: Path) -> None:
    from nmt.experiments.data import table
    from nmt.trainers.data.prepared import read_schema

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("valid", 10), ("test", 5)):
        path = tmp_path / "rows" / f"split={split}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"x": rng.normal(size=count), "y": np.arange(count) % 2.0}), path)
    schema = read_schema(str(table.prepare(str(tmp_path / "rows"), tmp_path / "cache", numeric=["x"], labels={"y": 2})))
    assert schema.rows == {"train": 20, "valid": 10, "test": 5}
