"""One split of a prepared data set, divided into units that are read one by one."""

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

from nmt.trainers.data.examples import Examples, rows_of_lists
from nmt.trainers.data.prepared import LIST_COUNTS, list_starts
from nmt.trainers.data.schema import Schema
from nmt.trainers.store.file_system import locate, parquet_files

FOOTERS_AT_ONCE = 16
"""File footers read at the same time: on an object store each takes a round trip."""

TILE_ROWS = 4096
"""Rows copied at a time: few enough for a core's cache."""

T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """A row group: the smallest part of a split that is read at once. It holds whole examples.

    Attributes:
        path: The file.
        group: Index of the row group in the file.
        rows: Number of rows.
        examples: Number of examples.
        first: Index of the first example in the split.
    """

    path: str
    group: int
    rows: int
    examples: int
    first: int = 0


class Split:
    """Reader of one split.

    Args:
        folder: A prepared data set: a path or URI.
        name: Name of the split.
        schema: Schema of the data set.
        labels: Label column of each task.

    Attributes:
        units: Units of all files, in order.
        examples: Number of examples.

    Raises:
        FileNotFoundError: The split has no file.
        ValueError: A file is damaged, or the number of examples differs from the schema's.
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
        """Read the examples i of a unit with i mod ``workers`` = ``rank``, in ascending order.

        Raises:
            ValueError: The file is damaged, or holds an id outside the vocabulary.
        """
        table = self._table(unit.path, unit.group)
        schema, path = self._schema, unit.path
        mine = slice((rank - unit.first) % workers, None, workers)
        positions = np.arange(unit.examples)[mine]
        rows: slice | NDArray[np.int64] = mine
        n, lengths = len(positions), None
        if schema.query is not None:
            sizes = _list_sizes(table[schema.query])
            rows, lengths = rows_of_lists(sizes, positions), sizes[mine]
            n = len(rows)
        packed = [_bytes(table, *item, path)[rows] for item in schema.packed.items()]
        return Examples(
            categorical=_stack(
                [_ids(table, *column, path)[rows] for column in schema.categorical.items()], n, np.int32
            ),
            numeric=_stack([table[column].to_numpy()[rows] for column in schema.numeric], n, np.float32),
            packed=np.hstack([np.empty((n, 0), np.uint8), *packed]),
            labels=_stack([table[column].to_numpy()[rows] for column in self._labels], n, np.float32),
            index=unit.first + positions,
            lengths=lengths,
        )

    def _units_of(self, path: str) -> list[Unit]:
        """Return the units of one file, from its footer alone."""
        metadata = _read_file(path, lambda: pq.ParquetFile(path, filesystem=self._filesystem).metadata)
        names = metadata.schema.names
        if missing := [column for column in self._columns if column not in names]:
            raise ValueError(f"{path} has no column {missing}; it has {names}. Prepare the data set again")
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if self._schema.query is None:
            return [Unit(path, group, n, n) for group, n in enumerate(rows)]
        lists = (metadata.metadata or {}).get(LIST_COUNTS)
        if lists is None:
            raise ValueError(f"{path} does not give the number of lists in its row groups; prepare the data set again")
        return [Unit(path, group, n, m) for group, (n, m) in enumerate(zip(rows, json.loads(lists), strict=True))]

    def _table(self, path: str, group: int) -> pa.Table:
        def read() -> pa.Table:
            remote = not isinstance(self._filesystem, pafs.LocalFileSystem)
            with pq.ParquetFile(path, filesystem=self._filesystem, pre_buffer=remote) as file:
                return file.read_row_group(group, self._columns)

        return _read_file(path, read)


def _read_file(path: str, read: Callable[[], T]) -> T:
    """Call ``read``; an error of it becomes one that names the file."""
    try:
        return read()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is not a whole Parquet file ({error}); prepare the data set again") from error


def _list_sizes(query: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the rows of each list."""
    return np.diff(np.append(list_starts(query), len(query)))


def _stack(columns: Sequence[NDArray[Any]], rows: int, dtype: type) -> NDArray[Any]:
    """Stack columns to shape ``(rows, columns)``, one tile of rows after the other.

    Whole columns would write to every cache line of the result once per column.
    """
    block: NDArray[Any] = np.empty((rows, len(columns)), dtype=dtype)
    for start in range(0, rows, TILE_ROWS):
        tile = slice(start, start + TILE_ROWS)
        for i, column in enumerate(columns):
            block[tile, i] = column[tile]
    return block


def _ids(table: pa.Table, column: str, size: int, path: str) -> NDArray[Any]:
    """Return a categorical column; an id out of range is refused, as it would select another column's embedding."""
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
    """Return a packed column, shape ``(rows, bytes)``."""
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
