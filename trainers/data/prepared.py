"""The prepared data set: a folder of Parquet shards per split and one ``schema.json``.

::

    FOLDER/schema.json    FOLDER/encoder.json    FOLDER/vocabulary.parquet
    FOLDER/train/part-00000.parquet …    FOLDER/valid/…    FOLDER/test/…

Every source (an embedded data set, an official file format, a user's table) is converted to this format, the only one
that the engine reads. Categorical columns are ``int32`` ids, numeric and label columns ``float32`` (null = missing),
packed columns fixed-size binary. The query column is ``int64``, and the rows of a list are adjacent. A row group holds
whole lists, and the file's metadata give their number (:data:`LIST_COUNTS`), so a reader can take a single row group.
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

from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.encoding.encoder import ENCODER, VOCABULARY, Encoder
from nmt.trainers.encoding.numbers import NumberColumn
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.store.file_system import is_file, locate

SHARD_ROWS = 262_144
"""Target number of rows per Parquet shard; sources cut their tables by it, never inside a list."""

GROUP_BYTES = 32 << 20
"""Most bytes of a row group in memory. It also has at most a quarter of a shard's rows; a longer list gets its own."""

LIST_COUNTS = b"lists"
"""Metadata key of a file: the number of lists in each of its row groups, as a JSON list."""


@dataclass(frozen=True)
class Shard:
    """A written Parquet file of a split.

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


def write(
    folder: Path, schema: Schema, splits: Mapping[str, Iterable[pa.Table]], encoder: Encoder | None = None
) -> Schema:
    """Write a prepared data set, whole or not at all.

    Shards are written to a temporary sibling folder, which is renamed at the end. If another process has prepared the
    same folder in the meantime, its result is kept and this one is dropped.

    Args:
        folder: Target folder; a data set that it already holds is kept.
        schema: Feature and label columns; ``rows``, ``examples`` and ``fingerprint`` are filled in here.
        splits: Split → its tables in order; each table holds whole lists.
        encoder: How raw rows were encoded. Without it a model that is trained on these data reads encoded rows.

    Returns:
        The completed schema.

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
        return seal(temporary, folder, schema, shards, encoder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_shard(folder: Path, split: str, number: int, table: pa.Table, schema: Schema) -> Shard:
    """Write one shard into a temporary folder; shards may be written in any order and by several processes.

    Args:
        folder: The temporary folder.
        split: The split.
        number: Position of the shard in its split.
        table: Rows of the shard; holds whole lists.
        schema: Feature and label columns.

    Returns:
        The entry that :func:`seal` needs.
    """
    arrow_schema = _arrow_schema(schema)
    table = table.select(arrow_schema.names).cast(arrow_schema)
    path = folder / split / f"part-{number:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    examples = _write(table, path, schema.query)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return Shard(split, path.name, table.num_rows, examples, digest)


def seal(
    temporary: Path, folder: Path, schema: Schema, shards: Iterable[Shard], encoder: Encoder | None = None
) -> Schema:
    """Add the encoder and ``schema.json`` to the shards, and rename the temporary folder to its final name.

    Args:
        temporary: A sibling of ``folder`` that holds the shards.
        folder: Target folder; a data set that it already holds is kept.
        schema: Feature and label columns.
        shards: All shards, ordered by split and number.
        encoder: How raw rows were encoded.

    Returns:
        The completed schema.

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
        raise ValueError(f"splits {empty} are empty; found {rows} rows, and every split needs at least one")
    head = replace(schema, rows={}, examples={}, fingerprint="", source="").to_json()
    digest.update(head.encode())
    written = replace(schema, rows=rows, examples=examples, fingerprint=digest.hexdigest()[:32])
    for name, content in (encoder.to_files() if encoder is not None else {}).items():
        (temporary / name).write_bytes(content)
    (temporary / "schema.json").write_text(written.to_json())
    if (folder / "schema.json").exists():
        return read_schema(str(folder))
    temporary.rename(folder)
    return written


def read_schema(folder: str) -> Schema:
    """Read the schema of a prepared data set.

    Args:
        folder: Its path or URI (:func:`~nmt.trainers.store.file_system.locate`).

    Raises:
        FileNotFoundError: ``folder`` does not exist or holds no ``schema.json``.
        ValueError: ``schema.json`` is damaged or of another version, or pyarrow cannot open the URI.
    """
    filesystem, root = locate(folder)
    path = f"{root}/schema.json"
    if not is_file(filesystem, path):
        raise FileNotFoundError(
            f"{folder} is not a prepared data set (no schema.json in it); "
            "give a folder that was prepared, or a data.source that prepares one"
        )
    with filesystem.open_input_stream(path) as stream:
        text: bytes = stream.read()
    return Schema.from_json(text.decode())


def read_encoder(folder: str, schema: Schema) -> Encoder:
    """Read how the raw rows of a prepared data set were encoded.

    A data set without an encoder, such as one from a user's own source, gets one that takes its columns as they are:
    ids, numbers and bytes.

    Args:
        folder: Its path or URI.
        schema: Its schema.

    Raises:
        ValueError: The encoder is damaged or of another version.
    """
    filesystem, root = locate(folder)
    if not is_file(filesystem, f"{root}/{ENCODER}"):
        return encoder_of_ids(schema)
    files = {}
    for name in (ENCODER, VOCABULARY):
        if is_file(filesystem, f"{root}/{name}"):
            with filesystem.open_input_stream(f"{root}/{name}") as stream:
                files[name] = stream.read()
    return Encoder.from_files(files)


def encoder_of_ids(schema: Schema) -> Encoder:
    """Return the encoder of a data set whose raw columns are the encoded ones; an id beyond the vocabulary is OOV."""
    ids = {name: pa.array(np.arange(1, size - 1), pa.int64()) for name, size in schema.categorical.items()}
    return Encoder(
        {name: TokenColumn(pa.int32(), tokens) for name, tokens in ids.items()},
        {name: NumberColumn(fill=found.mean) for name, found in schema.numeric.items()},
        schema.packed,
        schema.query,
    )


def list_starts(query: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the first row of each list, where the rows of a list are adjacent and share one value of ``query``."""
    values = query.to_numpy()
    return np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, dtype=np.int64)


def _arrow_schema(schema: Schema) -> pa.Schema:
    fields = [pa.field(schema.query, pa.int64())] if schema.query else []
    fields += [pa.field(name, pa.int32()) for name in schema.categorical]
    fields += [pa.field(name, pa.float32()) for name in (*schema.numeric, *schema.labels)]
    fields += [pa.field(name, pa.binary(-(-bits // 8))) for name, bits in schema.packed.items()]
    return pa.schema(fields)


def _write(table: pa.Table, path: Path, query: str | None) -> int:
    """Write a shard and return the number of its examples."""
    width = max(1, sum(field.type.bit_width // 8 for field in table.schema))
    most = max(1, min(SHARD_ROWS // 4, GROUP_BYTES // width))
    if query is None:
        pq.write_table(table, path, compression="zstd", row_group_size=most)
        return int(table.num_rows)
    starts = list_starts(table[query])
    groups = list(_groups(starts, table.num_rows, most))
    lists = np.diff(np.searchsorted(starts, [*(low for low, _ in groups), table.num_rows])).tolist()
    schema = table.schema.with_metadata({LIST_COUNTS: json.dumps(lists)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for low, high in groups:
            writer.write_table(table.slice(low, high - low), row_group_size=high - low)
    return len(starts)


def _groups(starts: NDArray[np.int64], rows: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the row range of each row group: whole lists, and at most ``most`` rows unless one list has more."""
    edges = np.append(starts, rows)
    low = 0
    while low < rows:
        fitting = edges[np.searchsorted(edges, low + most, side="right") - 1]
        high = int(fitting if fitting > low else edges[np.searchsorted(edges, low, side="right")])
        yield low, high
        low = high
