from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from nmt.trainers.data import prepared, split
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.stream import StreamFeed
from nmt.trainers.store.file_system import is_file, locate, parquet_files
from tests.trainers._problems import Prepared

LABELS = ("amount", "bought")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("data")[1] == str(tmp_path / "data")
    assert locate(str(tmp_path))[1] == str(tmp_path)
    assert locate(f"file://{tmp_path}/")[1] == str(tmp_path)
    assert all(isinstance(locate(place)[0], pafs.LocalFileSystem) for place in ("data", f"file://{tmp_path}"))


def test_unknown_uri() -> None:
    with pytest.raises(
        ValueError, match=r"'nowhere://x' is not a URI that pyarrow can open .* such as s3://bucket/folder"
    ):
        locate("nowhere://x")


def test_listing(tmp_path: Path) -> None:
    (tmp_path / "deep.parquet").mkdir()
    for name in ("b.parquet", "a.parquet", "notes.txt", "deep.parquet/c.parquet"):
        (tmp_path / name).touch()
    filesystem, folder = locate(str(tmp_path))
    assert parquet_files(filesystem, folder) == [f"{folder}/a.parquet", f"{folder}/b.parquet"]
    assert parquet_files(filesystem, f"{folder}/missing") == []
    assert is_file(filesystem, f"{folder}/notes.txt")
    assert not is_file(filesystem, folder)
    assert not is_file(filesystem, f"{folder}/missing")


@pytest.fixture(params=["file", "object store"])
def elsewhere(request: pytest.FixtureRequest, lists_data: Prepared, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URI of a copy of the data set: local, or in a memory file system that stands for an object store."""
    if request.param == "file":
        return f"file://{lists_data.folder}"
    memory = pafs._MockFileSystem()
    memory.create_dir("bucket")
    bucket = pafs.SubTreeFileSystem("bucket", memory)
    pafs.copy_files(str(lists_data.folder), "data", destination_filesystem=bucket)

    def found(place: str) -> tuple[pafs.FileSystem, str]:
        return (bucket, "data") if place == "store://data" else locate(place)

    for module in (prepared, split):
        monkeypatch.setattr(module, "locate", found)
    return "store://data"


@pytest.mark.parametrize("feed", [MemoryFeed, StreamFeed])
def test_feeds_read_from_anywhere(elsewhere: str, lists_data: Prepared, feed: type[MemoryFeed | StreamFeed]) -> None:
    assert read_schema(elsewhere) == lists_data.schema
    here, there = (feed(place, LABELS, 8, 0, 1, 2) for place in (str(lists_data.folder), elsewhere))
    for one, other in zip(
        (*here.epoch(0, 0), *here.scan("valid")), (*there.epoch(0, 0), *there.scan("valid")), strict=True
    ):
        assert one.index.tolist() == other.index.tolist()
        assert one.numeric.nan_to_num().tolist() == other.numeric.nan_to_num().tolist()


def test_a_missing_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a prepared data set"):
        read_schema(f"file://{tmp_path}")
