"""The prepared data set: a folder of Parquet shards per split and one ``schema.json``.

::

    FOLDER/schema.json
    FOLDER/train/part-00000.parquet …    FOLDER/valid/…    FOLDER/test/…

Every source (an embedded data set, an official file format, a user's table) ends in this one format, so that the
engine reads only one. Categorical columns are ``int32`` ids, numeric and label columns ``float32`` (null = missing),
packed columns fixed-size binary, the query column any integer with the rows of a list adjacent. A row group holds whole
lists, and its file says how many (:data:`LISTS`): a reader may take one row group and leave the rest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainers.data.schema import SPLITS, Schema
from trainers.store.file_system import is_file, locate

SHARD_ROWS = 262_144
"""Rows per Parquet shard that :func:`write` aims at; a list is never cut."""

GROUP_BYTES = 32 << 20
"""Most bytes of a row group in memory, of at most a quarter of a shard's rows; a longer list is a group of its own."""

LISTS = b"lists"
"""Key in a file's metadata of the number of lists in each of its row groups, a JSON list."""


@dataclass(frozen=True)
class Shard:
    """A Parquet file of a split, as written.

    Attributes:
        split: Its split.
        name: Its file name in the folder of the split.
        rows: Number of rows.
        examples: Number of examples.
        digest: Hash of its content.
    """

    split: str
    name: str
    rows: int
    examples: int
    digest: bytes


def write(folder: Path, schema: Schema, splits: Mapping[str, Iterable[pa.Table]]) -> Schema:
    """Write a prepared data set, whole or not at all.

    Shards go to a temporary sibling folder, which is renamed into place at the end; when another process prepared
    the same folder meanwhile, its result is kept and this one is dropped.

    Args:
        folder: Where to write; must not exist, or hold an earlier result (which then stays).
        schema: Feature and label columns; ``rows``, ``examples`` and ``fingerprint`` are filled in here.
        splits: Split → tables in order, each of whole lists.

    Returns:
        The schema as written.

    Raises:
        ValueError: A split is missing or empty.
    """
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise ValueError(f"splits {missing} are missing; a prepared data set needs {list(SPLITS)}")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        shards = [
            write_shard(temporary, split, number, table, schema)
            for split in SPLITS
            for number, table in enumerate(splits[split])
        ]
        return seal(temporary, folder, schema, shards)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_shard(folder: Path, split: str, number: int, table: pa.Table, schema: Schema) -> Shard:
    """Write one shard into a folder that is not sealed yet; shards may come in any order, from several processes.

    Args:
        folder: The temporary folder.
        split: The split.
        number: Place of the shard in its split.
        table: Whole lists.
        schema: Feature and label columns.

    Returns:
        What :func:`seal` wants to know.
    """
    arrow_schema = _arrow_schema(schema)
    table = table.select(arrow_schema.names).cast(arrow_schema)
    path = folder / split / f"part-{number:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    examples = _write(table, path, schema.query)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return Shard(split, path.name, table.num_rows, examples, digest)


def seal(temporary: Path, folder: Path, schema: Schema, shards: Iterable[Shard]) -> Schema:
    """Add ``schema.json`` to written shards, and rename the folder into place.

    Args:
        temporary: A sibling of ``folder`` with the shards.
        folder: Where to; an earlier result there stays.
        schema: Feature and label columns.
        shards: Every shard, in the order of splits and numbers.

    Returns:
        The schema as written.

    Raises:
        ValueError: A split is empty.
    """
    digest = hashlib.sha256()
    rows = dict.fromkeys(SPLITS, 0)
    examples = dict.fromkeys(SPLITS, 0)
    for shard in shards:
        digest.update(f"{shard.split}/{shard.name}".encode())
        digest.update(shard.digest)
        rows[shard.split] += shard.rows
        examples[shard.split] += shard.examples
    if empty := [split for split in SPLITS if not rows[split]]:
        raise ValueError(f"splits {empty} hold no row; found {rows} rows, and every split needs some")
    head = replace(schema, rows={}, examples={}, fingerprint="", source="").to_json()
    digest.update(head.encode())
    written = replace(schema, rows=rows, examples=examples, fingerprint=digest.hexdigest()[:32])
    (temporary / "schema.json").write_text(written.to_json())
    if (folder / "schema.json").exists():
        return read_schema(str(folder))
    temporary.rename(folder)
    return written


def read_schema(folder: str) -> Schema:
    """The schema of a prepared data set.

    Args:
        folder: Its path, or the URI of a copy on another file system (:func:`~trainers.store.file_system.locate`).

    Raises:
        FileNotFoundError: ``folder`` does not exist or holds no ``schema.json``.
        ValueError: ``schema.json`` is damaged or of another version, or ``folder`` is no URI that pyarrow can open.
    """
    filesystem, root = locate(folder)
    path = f"{root}/schema.json"
    if not is_file(filesystem, path):
        raise FileNotFoundError(
            f"{folder} is not a prepared data set (no schema.json in it); "
            "give the folder that preparation wrote, or name a data.source that prepares one"
        )
    with filesystem.open_input_stream(path) as stream:
        text: bytes = stream.read()
    return Schema.from_json(text.decode())


def list_starts(query: pa.ChunkedArray) -> NDArray[np.int64]:
    """First row of each list: of each run of equal values in a column whose equal values are adjacent."""
    values = query.to_numpy()
    return np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, dtype=np.int64)


def _arrow_schema(schema: Schema) -> pa.Schema:
    fields = [pa.field(schema.query, pa.int64())] if schema.query else []
    fields += [pa.field(name, pa.int32()) for name in schema.categorical]
    fields += [pa.field(name, pa.float32()) for name in (*schema.numeric, *schema.labels)]
    fields += [pa.field(name, pa.binary(-(-bits // 8))) for name, bits in schema.packed.items()]
    return pa.schema(fields)


def _write(table: pa.Table, path: Path, query: str | None) -> int:
    """Write one shard; returns the number of its examples."""
    width = max(1, sum(field.type.bit_width // 8 for field in table.schema))
    most = max(1, min(SHARD_ROWS // 4, GROUP_BYTES // width))
    if query is None:
        pq.write_table(table, path, compression="zstd", row_group_size=most)
        return int(table.num_rows)
    starts = list_starts(table[query])
    groups = list(_groups(starts, table.num_rows, most))
    lists = np.diff(np.searchsorted(starts, [*(low for low, _ in groups), table.num_rows])).tolist()
    described = table.schema.with_metadata({LISTS: json.dumps(lists)})
    with pq.ParquetWriter(path, described, compression="zstd") as writer:
        for low, high in groups:
            writer.write_table(table.slice(low, high - low), row_group_size=high - low)
    return len(starts)


def _groups(starts: NDArray[np.int64], rows: int, most: int) -> Iterator[tuple[int, int]]:
    """First and last row, exclusive, of each row group: whole lists, at most ``most`` rows unless one list has more."""
    edges = np.append(starts, rows)
    low = 0
    while low < rows:
        fitting = edges[np.searchsorted(edges, low + most, side="right") - 1]
        high = int(fitting if fitting > low else edges[np.searchsorted(edges, low, side="right")])
        yield low, high
        low = high
