"""The prepared data set: a folder of Parquet shards per split and one ``schema.json``.

::

    FOLDER/schema.json
    FOLDER/train/part-00000.parquet …    FOLDER/valid/…    FOLDER/test/…

Every source (an embedded data set, an official file format, a user's table) ends in this one format, so that the
engine reads only one. Categorical columns are ``int32`` ids, numeric and label columns ``float32`` (null = missing),
packed columns fixed-size binary, the query column any integer with the rows of a list adjacent.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.data.schema import SPLITS, Schema

SHARD_ROWS = 262_144
"""Rows per Parquet shard that :func:`write` aims at; a list is never cut."""


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
    digest = hashlib.sha256()
    rows: dict[str, int] = {}
    examples: dict[str, int] = {}
    arrow_schema = _arrow_schema(schema)
    try:
        for split in SPLITS:
            (temporary / split).mkdir(parents=True)
            rows[split] = examples[split] = 0
            for number, table in enumerate(splits[split]):
                table = table.select(arrow_schema.names).cast(arrow_schema)
                path = temporary / split / f"part-{number:05d}.parquet"
                pq.write_table(table, path, compression="zstd", row_group_size=SHARD_ROWS // 4)
                digest.update(f"{split}/{path.name}".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
                rows[split] += table.num_rows
                examples[split] += table.num_rows if schema.query is None else _lists(table[schema.query])
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
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_schema(folder: str) -> Schema:
    """The schema of a prepared data set.

    Raises:
        FileNotFoundError: ``folder`` does not exist or holds no ``schema.json``.
        ValueError: ``schema.json`` is damaged or of another version.
    """
    path = Path(folder) / "schema.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a prepared data set (no schema.json in it); "
            "give the folder that preparation wrote, or name a data.source that prepares one"
        )
    return Schema.from_json(path.read_text())


def _arrow_schema(schema: Schema) -> pa.Schema:
    fields = [pa.field(schema.query, pa.int64())] if schema.query else []
    fields += [pa.field(name, pa.int32()) for name in schema.categorical]
    fields += [pa.field(name, pa.float32()) for name in (*schema.numeric, *schema.labels)]
    fields += [pa.field(name, pa.binary(-(-bits // 8))) for name, bits in schema.packed.items()]
    return pa.schema(fields)


def _lists(query: pa.ChunkedArray) -> int:
    """Number of lists: runs of equal values in a column whose equal values are adjacent."""
    values = query.combine_chunks()
    if len(values) == 0:
        return 0
    return 1 + (pc.sum(pc.not_equal(values[1:], values[:-1])).as_py() or 0)
