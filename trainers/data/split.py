"""One split of a prepared data set on its file system, cut into units that can be read one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainers.data.examples import Examples, rows_of_lists
from trainers.data.prepared import LISTS, list_starts
from trainers.data.schema import Schema
from trainers.store.file_system import locate, parquet_files

FOOTERS_AT_ONCE = 16
"""Files whose footers are read at the same time: on an object store each takes a round trip."""

TILE_ROWS = 4096
"""Rows that are copied at once: small enough for a core's cache."""

T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """What is read at once: whole examples.

    Attributes:
        path: The file.
        group: Its row group; ``None`` for the whole file.
        rows: Number of rows.
        examples: Number of examples.
        first: Number in the split of the first example.
    """

    path: str
    group: int | None
    rows: int
    examples: int
    first: int = 0


class Split:
    """The files of one split.

    A unit is a row group. Where the data has a query column, row groups hold whole lists in what
    :func:`trainers.data.prepared.write` writes now; a file of an earlier version, which does not say so, is one unit.

    Args:
        folder: A prepared data set: a path or URI.
        name: Which split.
        schema: Its schema.
        labels: Label column of each task.

    Raises:
        FileNotFoundError: The split holds no file.
        ValueError: A file is damaged, or the split does not hold the examples of the schema.
    """

    def __init__(self, folder: str, name: str, schema: Schema, labels: Sequence[str]) -> None:
        self._filesystem, root = locate(folder)
        self._schema = schema
        self._labels = tuple(labels)
        self._columns = [*([schema.query] if schema.query else []), *schema.features, *dict.fromkeys(labels)]
        paths = parquet_files(self._filesystem, f"{root}/{name}")
        if not paths:
            raise FileNotFoundError(f"{folder}/{name} holds no Parquet file; prepare the data set again")
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            found = [unit for units in pool.map(self._units_of, paths) for unit in units if unit.examples]
        firsts = accumulate((unit.examples for unit in found), initial=0)
        self.units = tuple(replace(unit, first=first) for unit, first in zip(found, firsts, strict=False))
        self.examples = sum(unit.examples for unit in found)
        if self.examples != schema.examples[name]:
            raise ValueError(
                f"{folder}/{name} holds {self.examples} examples in {len(paths)} files, its schema.json says "
                f"{schema.examples[name]}; copy the folder whole, or prepare the data set again"
            )

    def read(self, unit: Unit, rank: int = 0, workers: int = 1) -> Examples:
        """The examples i of a unit with i mod ``workers`` = ``rank``, in the order of their numbers.

        Raises:
            ValueError: The file is damaged, or holds an id that is not in the vocabulary.
        """
        table = self._table(unit.path, unit.group, self._columns)
        schema, path = self._schema, unit.path
        mine = slice((rank - unit.first) % workers, None, workers)
        places = np.arange(unit.examples)[mine]
        rows: slice | NDArray[np.int64] = mine
        n, lengths = len(places), None
        if schema.query is not None:
            sizes = _list_sizes(table[schema.query])
            rows, lengths = rows_of_lists(sizes, places), sizes[mine]
            n = len(rows)
        packed = [_bytes(table, *item, path)[rows] for item in schema.packed.items()]
        return Examples(
            categorical=_beside(
                [_ids(table, *column, path)[rows] for column in schema.categorical.items()], n, np.int32
            ),
            numeric=_beside([table[column].to_numpy()[rows] for column in schema.numeric], n, np.float32),
            packed=np.hstack([np.empty((n, 0), np.uint8), *packed]),
            labels=_beside([table[column].to_numpy()[rows] for column in self._labels], n, np.float32),
            index=unit.first + places,
            lengths=lengths,
        )

    def _units_of(self, path: str) -> list[Unit]:
        """Units of one file; a few bytes at its end are read."""
        metadata = _guarded(path, lambda: pq.ParquetFile(path, filesystem=self._filesystem).metadata)
        names = metadata.schema.names
        if missing := [column for column in self._columns if column not in names]:
            raise ValueError(f"{path} has no column {missing}; it has {names}. Prepare the data set again")
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if self._schema.query is None:
            return [Unit(path, group, n, n) for group, n in enumerate(rows)]
        lists = (metadata.metadata or {}).get(LISTS)
        if lists is not None:
            return [Unit(path, group, n, m) for group, (n, m) in enumerate(zip(rows, json.loads(lists), strict=True))]
        query = self._table(path, None, [self._schema.query])[self._schema.query]
        return [Unit(path, None, sum(rows), len(_list_sizes(query)))]

    def _table(self, path: str, group: int | None, columns: Sequence[str]) -> pa.Table:
        def read() -> pa.Table:
            remote = not isinstance(self._filesystem, pafs.LocalFileSystem)
            with pq.ParquetFile(path, filesystem=self._filesystem, pre_buffer=remote) as file:
                return file.read(columns) if group is None else file.read_row_group(group, columns)

        return _guarded(path, read)


def _guarded(path: str, read: Callable[[], T]) -> T:
    """Read, and name the file when it cannot be read."""
    try:
        return read()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is not a whole Parquet file ({error}); prepare the data set again") from error


def _list_sizes(query: pa.ChunkedArray) -> NDArray[np.int64]:
    """Rows of each list."""
    return np.diff(np.append(list_starts(query), len(query)))


def _beside(columns: Sequence[NDArray[Any]], rows: int, dtype: type) -> NDArray[Any]:
    """Columns side by side, shape ``(rows, columns)``.

    A tile of rows after the other: a whole column at once would touch every cache line of the result once a column.
    """
    block: NDArray[Any] = np.empty((rows, len(columns)), dtype=dtype)
    for start in range(0, rows, TILE_ROWS):
        tile = slice(start, start + TILE_ROWS)
        for place, column in enumerate(columns):
            block[tile, place] = column[tile]
    return block


def _ids(table: pa.Table, column: str, size: int, path: str) -> NDArray[Any]:
    """A categorical column; an id out of range would read another column's embedding."""
    found = table[column]
    values: NDArray[Any] = (found.fill_null(-1) if found.null_count else found).to_numpy()
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if low < 0 or high >= size:
        raise ValueError(
            f"{path}: column {column!r} holds ids from {low} to {high}, its vocabulary has 0 to {size - 1} "
            "(a null reads as a negative id); prepare the data set again"
        )
    return values


def _bytes(table: pa.Table, column: str, bits: int, path: str) -> NDArray[np.uint8]:
    """A packed column, shape ``(rows, bytes)``."""
    size = -(-bits // 8)
    try:
        values = table[column].cast(pa.binary(size)).combine_chunks()
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: packed column {column!r} does not hold {size} bytes in every row ({error}); "
            "prepare the data set again"
        ) from error
    if values.null_count:
        raise ValueError(
            f"{path}: packed column {column!r} is null in {values.null_count} rows; prepare the data set again"
        )
    data = np.frombuffer(values.buffers()[1] or b"", dtype=np.uint8)
    return data[values.offset * size : (values.offset + len(values)) * size].reshape(len(values), size)
