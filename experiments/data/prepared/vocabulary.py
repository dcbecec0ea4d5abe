"""Vocabularies of tokens: counted block by block, merged in parts, and looked up.

Ids: 0 is PAD, ``1 … n`` are the tokens of at least ``min_count`` training rows in the order of their UTF-8 bytes, and
``n + 1``, the last id, is OOV: any other token, and a missing one.

Counting must not hold every token that there is, most of which are seen once. So the tokens of a column are spread over
parts by their last characters, and a part is merged at a time. What is held whole are the tokens that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROWS_PER_PART = 8_000_000
"""Rows for which there is one part: at most so many tokens are merged at a time."""

COUNTS = pa.schema([("token", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class Part:
    """One part of the tokens of one column.

    Attributes:
        column: Place of the column.
        part: Number of the part.
        parts: Number of parts of a column.
        counted: Files of counts, one a block.
        min_count: A token needs this many training rows.
        path: Where to write the tokens that are kept.
    """

    column: int
    part: int
    parts: int
    counted: Sequence[str]
    min_count: int
    path: str


def count(columns: Sequence[pa.Array], mine: npt.NDArray[np.bool_], parts: int, path: Path) -> None:
    """Count the tokens of some rows.

    Args:
        columns: Columns of tokens, as dictionaries.
        mine: The rows to count.
        parts: Number of parts.
        path: Where to write: a record batch for each part of each column, in this order.
    """
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, COUNTS) as writer:
        for column in columns:
            codes = column.indices.filter(pa.array(mine)).drop_null().to_numpy()
            seen = np.bincount(codes, minlength=len(column.dictionary))
            there = np.flatnonzero(seen)
            tokens, seen = column.dictionary.take(pa.array(there)), seen[there]
            which = _spread(tokens, parts)
            for part in range(parts):
                places = np.flatnonzero(which == part)
                arrays = [tokens.take(pa.array(places)), pa.array(seen[places], pa.int64())]
                writer.write_batch(pa.record_batch(arrays, schema=COUNTS))


def merge(part: Part) -> int:
    """Add up the counts of one part, and keep the frequent tokens, in order.

    Returns:
        The number of different tokens, kept or not.
    """
    batches = []
    for path in part.counted:
        with pa.OSFile(path) as file, pa.ipc.open_file(file) as reader:
            batches.append(reader.get_batch(part.column * part.parts + part.part))
    total = pa.Table.from_batches(batches, COUNTS).group_by("token").aggregate([("count", "sum")])
    total = total.rename_columns({"count_sum": "count"}).select(COUNTS.names)
    kept = total.filter(pc.greater_equal(total["count"], part.min_count)).sort_by("token")
    _write(kept, Path(part.path))
    return int(total.num_rows)


def join_parts(paths: Sequence[Path], path: Path) -> pa.Table:
    """The vocabulary of a column: tokens and counts of its parts in order, also written to ``path``."""
    whole = pa.concat_tables([_read(part) for part in paths]).sort_by("token")
    _write(whole, path)
    return whole


def ids(column: pa.Array, path: Path) -> pa.Array:
    """Ids of a column of tokens.

    Args:
        column: Tokens, as a dictionary.
        path: The vocabulary of the column.
    """
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        vocabulary = reader.read_all()["token"].combine_chunks()
        oov = len(vocabulary) + 1
        of_code = np.append(_places(column.dictionary, vocabulary) + 1, oov).astype(np.int32)
        del vocabulary
    of_code[of_code == 0] = oov
    codes = pc.fill_null(column.indices, len(column.dictionary)).to_numpy(zero_copy_only=False)
    return pa.array(of_code[codes])


def _places(tokens: pa.Array, vocabulary: pa.Array) -> npt.NDArray[np.int64]:
    """Place of each token in the vocabulary, or -1. The smaller side is hashed, so that a large one is only read."""
    if len(vocabulary) <= len(tokens):
        return _whole(pc.index_in(tokens, value_set=vocabulary))
    unique = pc.dictionary_encode(tokens)
    found = _whole(pc.index_in(vocabulary, value_set=unique.dictionary))
    there = np.flatnonzero(found >= 0)
    place = np.full(len(unique.dictionary), -1, np.int64)
    place[found[there]] = there
    return np.asarray(place[unique.indices.to_numpy()])


def _whole(places: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(places, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _spread(tokens: pa.Array, parts: int) -> npt.NDArray[np.int64]:
    """The part of each token, by its last three bytes: decimal numbers are spread evenly."""
    if parts == 1 or not len(tokens):
        return np.zeros(len(tokens), np.int64)
    _, offsets, data = tokens.buffers()
    ends = np.frombuffer(offsets, np.int32)[tokens.offset : tokens.offset + len(tokens) + 1].astype(np.int64)
    text = np.frombuffer(data or b"", np.uint8)
    size = np.diff(ends)
    key = np.zeros(len(tokens), np.int64)
    for back, weight in ((1, 1), (2, 10), (3, 100)):
        long = size >= back
        key[long] += weight * text[ends[1:][long] - back].astype(np.int64)
    return key % parts


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, COUNTS) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()
