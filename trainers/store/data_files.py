"""Which files of a folder are data: the conventions of pyarrow, Spark and Hive, for everything that reads folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow.fs as pafs

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive and Spark write a missing value in the name of a folder."""


@dataclass(frozen=True)
class DataFile:
    """A file with rows.

    Attributes:
        path: Its path on its file system.
        columns: Columns that the names of its folders give (``day=3``), with their values as text; ``None`` = missing.
    """

    path: str
    columns: Mapping[str, str | None] = field(default_factory=dict)


def data_files(filesystem: pafs.FileSystem, root: str, endings: Collection[str]) -> list[DataFile]:
    """Return the data files of a folder at any depth, in the order of their names; of a file, itself.

    Files and folders whose names begin with ``_`` or ``.`` are no data (``_SUCCESS``, ``._part-0.parquet``, ``_tmp/``).
    Folders of the form ``column=value`` give a column. Links to folders are followed, each folder once.

    Args:
        filesystem: The file system.
        root: The folder or file on it.
        endings: Ends of the names of data files, such as ``.parquet``.
    """
    if filesystem.get_file_info(root).type == pafs.FileType.File:
        return [DataFile(root)]
    found = []
    for path in sorted(_walk(root) if isinstance(filesystem, pafs.LocalFileSystem) else _list(filesystem, root)):
        parts = PurePosixPath(path).relative_to(root).parts
        if PurePosixPath(path).suffix in endings and not any(part.startswith(("_", ".")) for part in parts):
            found.append(DataFile(path, dict(_column(part) for part in parts[:-1] if "=" in part)))
    return found


def _column(part: str) -> tuple[str, str | None]:
    name, _, value = part.partition("=")
    return unquote(name), None if value == NO_VALUE else unquote(value)


def _list(filesystem: pafs.FileSystem, root: str) -> list[str]:
    infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    return [info.path for info in infos if info.type == pafs.FileType.File]


def _walk(root: str) -> Iterator[str]:
    """Yield the files of a local folder; a link to a folder that is being walked leads nowhere new."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in names if os.path.isfile(path := os.path.join(folder, name)))
