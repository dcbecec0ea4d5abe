"""A table as the user gives it: in memory, or in Parquet files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from nmt.experiments.data.common.cache import file_stamp
from nmt.trainers.store.data_files import DataFile, data_files

MOST_BYTES = 2**31 - 1
"""Capacity of an Arrow array of text or binary values, in bytes; longer columns take the large types."""


class RawTable(Protocol):
    """A table whose columns are read one at a time."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""

    def column(self, name: str) -> pa.Array:
        """Read a whole column; a dictionary column is decoded."""

    def where(self, row: int) -> str:
        """Describe a row for an error message: its number, counted from 0, and its file."""


@dataclass(frozen=True)
class MemoryTable:
    """A table in memory."""

    table: pa.Table

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return list(self.table.column_names)

    def column(self, name: str) -> pa.Array:
        """Read a whole column; a dictionary column is decoded."""
        return _decode(self.table.column(name))

    def where(self, row: int) -> str:
        """Describe a row for an error message: its number, counted from 0."""
        return f"row {row}"


class ParquetTable:
    """The rows of one Parquet file, or of all Parquet files in a folder in the order of their names.

    Which files count, and that folders named ``column=value`` give a column, says
    :func:`~nmt.trainers.store.data_files.data_files`.

    Args:
        path: The file or folder.

    Raises:
        FileNotFoundError: There is no such file, or no Parquet file in the folder.
        ValueError: ``path`` is ``None``, or a file cannot be read as Parquet (truncated, another format).
    """

    def __init__(self, path: str | None) -> None:
        files = _parquet_files(path)
        self.paths = [Path(file.path) for file in files]
        self._of_folders = _columns_of_folders(files, path)
        self._metadata = [_read(file, lambda file=file: pq.read_metadata(file)) for file in self.paths]
        self._starts = np.cumsum([0, *(meta.num_rows for meta in self._metadata)])

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns that every file has."""
        lists = [meta.schema.to_arrow_schema().names for meta in self._metadata]
        common = [name for name in lists[0] if all(name in names for names in lists[1:])]
        return [*common, *(name for name in self._of_folders if name not in common)]

    @property
    def stamp(self) -> list[tuple[str, int, int]]:
        """Path, size and time of change of each file, for a cache key."""
        return [file_stamp(path) for path in self.paths]

    def column(self, name: str) -> pa.Array:
        """Read a whole column; a dictionary column is decoded.

        Raises:
            ValueError: A file is damaged, or files hold the column in types that do not fit together.
        """
        if name in self._of_folders:
            rows = np.diff(self._starts)
            return self._of_folders[name].take(pa.array(np.repeat(np.arange(len(rows)), rows)))
        parts = []
        for file, meta in zip(self.paths, self._metadata, strict=True):
            if (times := meta.schema.to_arrow_schema().names.count(name)) > 1:
                raise ValueError(f"column {name!r} occurs {times} times in {file}; rename or drop all but one")
            table = _read(file, lambda file=file, meta=meta: pq.ParquetFile(file, metadata=meta).read([name]))
            parts.append(pa.table({name: _decode(table.column(name))}))
        try:
            return _decode(pa.concat_tables(parts, promote_options="permissive").column(name))
        except pa.ArrowException as error:
            types = sorted({str(part.schema.field(name).type) for part in parts})
            raise ValueError(
                f"column {name!r} has the types {types} in the files of {self.paths[0].parent}; "
                "write it with one type in all of them"
            ) from error

    def where(self, row: int) -> str:
        """Describe a row for an error message: its number, counted from 0, and its file."""
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"row {row - int(self._starts[index])} (counted from 0) of {self.paths[index]}"


def _decode(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, with dictionary values in place of their codes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.nbytes > MOST_BYTES and column.type in _LARGE:
        column = column.cast(_LARGE[column.type])
    return column.combine_chunks()


_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


def _parquet_files(path: str | None) -> list[DataFile]:
    if path is None:
        raise ValueError("no table is given; set data.path to a Parquet file, or to a folder of Parquet files")
    location = Path(path).expanduser()
    if not location.exists():
        raise FileNotFoundError(f"{path} does not exist on this machine; set data.path to a Parquet file or a folder")
    files = data_files(pafs.LocalFileSystem(), str(location.absolute()), (".parquet", ".pq"))
    if not files:
        found = join_names(sorted(item.name for item in location.iterdir()))
        raise FileNotFoundError(
            f"folder {path} has no file that ends in .parquet (names that begin with _ or . do not count); it has "
            f"{found}. Export to Parquet"
        )
    return files


def _columns_of_folders(files: Sequence[DataFile], path: str | None) -> dict[str, pa.Array]:
    """Return the columns that the names of folders give, one value per file: integers where all of them are."""
    names = {name for file in files for name in file.columns}
    columns = {}
    for name in sorted(names):
        if lacking := [file.path for file in files if name not in file.columns]:
            raise ValueError(
                f"{path}: {lacking[0]} lies in no folder {name}=…, as other files do; partition all files alike"
            )
        values = [file.columns[name] for file in files]
        whole = all(value is None or re.fullmatch(r"[+-]?\d+", value) for value in values)
        columns[name] = pa.array([None if value is None else int(value) if whole else value for value in values])
    return columns


def _read(file: Path, read: Any) -> Any:
    """Call ``read``; an error names the file."""
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) cannot be read as Parquet: {error}. It is truncated or of another "
            "format; copy or export it again"
        ) from error


def join_names(names: Sequence[str], most: int = 40) -> str:
    """Format names for an error message; of very many, the first ``most``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{list(names[:most])}{more}"
