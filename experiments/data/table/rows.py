"""Where the columns of a user's table come from: a table in memory, or Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MOST_BYTES = 2**31 - 1
"""Bytes of text or binary values that one array of their plain types can hold; longer columns get the large types."""


class Rows(Protocol):
    """Where columns come from: a table in memory, or Parquet files."""

    @property
    def names(self) -> Sequence[str]:
        """The columns there are."""

    def column(self, name: str) -> pa.Array:
        """One column, whole; dictionary columns decoded."""

    def where(self, row: int) -> str:
        """A row for people: its number, counted from 0, and its file."""


@dataclass(frozen=True)
class Memory:
    """Rows of a table in memory."""

    table: pa.Table

    @property
    def names(self) -> Sequence[str]:
        """The columns there are."""
        return list(self.table.column_names)

    def column(self, name: str) -> pa.Array:
        """One column, whole; dictionary columns decoded."""
        return _decoded(self.table.column(name))

    def where(self, row: int) -> str:
        """A row for people: its number, counted from 0."""
        return f"row {row}"


class Files:
    """Rows of one Parquet file, or of all the Parquet files in a folder, in the order of their names.

    Args:
        path: The file or folder.

    Raises:
        FileNotFoundError: There is no such file, or no Parquet file in the folder.
        ValueError: ``path`` is ``None``, or a file cannot be read as Parquet (truncated, another format).
    """

    def __init__(self, path: str | None) -> None:
        self.paths = _parquet_files(path)
        self._metadata = [_guarded(file, lambda file=file: pq.read_metadata(file)) for file in self.paths]
        self._starts = np.cumsum([0, *(meta.num_rows for meta in self._metadata)])

    @property
    def names(self) -> Sequence[str]:
        """The columns that every file has."""
        lists = [meta.schema.to_arrow_schema().names for meta in self._metadata]
        return [name for name in lists[0] if all(name in names for names in lists[1:])]

    @property
    def stamp(self) -> list[tuple[str, int, int]]:
        """Path, size and time of change of each file: what a cached result depends on."""
        stats = [(file, file.stat()) for file in self.paths]
        return [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def column(self, name: str) -> pa.Array:
        """One column, whole; dictionary columns decoded.

        Raises:
            ValueError: A file is damaged, or files hold the column in types that do not fit together.
        """
        parts = []
        for file, meta in zip(self.paths, self._metadata, strict=True):
            table = _guarded(file, lambda file=file, meta=meta: pq.ParquetFile(file, metadata=meta).read([name]))
            parts.append(pa.table({name: _decoded(table.column(name))}))
        try:
            return _decoded(pa.concat_tables(parts, promote_options="permissive").column(name))
        except pa.ArrowException as error:
            types = sorted({str(part.schema.field(name).type) for part in parts})
            raise ValueError(
                f"column {name!r} has the types {types} in the files of {self.paths[0].parent}; "
                "write it with one type in all of them"
            ) from error

    def where(self, row: int) -> str:
        """A row for people: its number, counted from 0, and its file."""
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"row {row - int(self._starts[index])} (counted from 0) of {self.paths[index]}"


def _decoded(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, with dictionary values written out."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.nbytes > MOST_BYTES and column.type in _LARGE:
        column = column.cast(_LARGE[column.type])
    return column.combine_chunks()


_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


def _parquet_files(path: str | None) -> list[Path]:
    if path is None:
        raise ValueError("no table is given; set data.path to a Parquet file, or to a folder of Parquet files")
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if not place.exists():
        raise FileNotFoundError(f"{path} does not exist on this machine; set data.path to a Parquet file or a folder")
    files = [file for file in sorted(place.rglob("*.parquet")) if file.is_file()]
    if not files:
        found = shown(sorted(item.name for item in place.iterdir()))
        raise FileNotFoundError(f"folder {path} has no file that ends in .parquet; it has {found}. Export to Parquet")
    return files


def _guarded(file: Path, read: Any) -> Any:
    """Read, and name the file when it cannot be read."""
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) cannot be read as Parquet: {error}. It is truncated or of another "
            "format; copy or export it again"
        ) from error


def shown(names: Sequence[str], most: int = 40) -> str:
    """Names for people, the first of very many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{list(names[:most])}{more}"
