"""The vocabulary of a column: tokens counted by block, merged in parts, and looked up.

Id 0 is PAD. ``1 … n`` are the tokens of at least ``min_count`` training rows, in the order of their UTF-8 bytes. The
last id, ``n + 1``, is OOV: any other token, and null.

Most tokens of a large column occur once, so memory should not hold all of them. They are spread over parts by their
last characters, and the counts are merged part by part. Only the tokens of the vocabulary are held as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data.common.arrow_file import map_arrow, read_arrow, write_arrow

ROWS_PER_PART = 8_000_000
"""Rows for each part, hence the most tokens that are merged at a time."""

COUNTS = pa.schema([("token", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class Part:
    """One part of the tokens of one column.

    Attributes:
        column: Index of the column.
        part: Number of the part.
        parts: Number of parts of a column.
        counted: Files of counts, one for each block.
        min_count: Training rows that a token needs to be in the vocabulary.
        path: File to write the tokens of the vocabulary to.
    """

    column: int
    part: int
    parts: int
    counted: Sequence[str]
    min_count: int
    path: str


def count_tokens(columns: Sequence[pa.Array], mask: npt.NDArray[np.bool_], parts: int, path: Path) -> None:
    """Count the tokens of some rows.

    Args:
        columns: Dictionary columns of tokens.
        mask: Mask of the rows to count.
        parts: Number of parts of a column.
        path: File to write: one record batch for each column and part, in this order.
    """
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, COUNTS) as writer:
        for column in columns:
            codes = column.indices.filter(pa.array(mask)).drop_null().to_numpy()
            seen = np.bincount(codes, minlength=len(column.dictionary))
            used = np.flatnonzero(seen)
            tokens, seen = column.dictionary.take(pa.array(used)), seen[used]
            part_of_token = _assign_parts(tokens, parts)
            for part in range(parts):
                members = np.flatnonzero(part_of_token == part)
                arrays = [tokens.take(pa.array(members)), pa.array(seen[members], pa.int64())]
                writer.write_batch(pa.record_batch(arrays, schema=COUNTS))


def merge_part(part: Part) -> int:
    """Add up the counts of one part, and write its frequent tokens in order.

    Returns:
        The number of distinct tokens, frequent or not.
    """
    batches = []
    for path in part.counted:
        with pa.OSFile(path) as file, pa.ipc.open_file(file) as reader:
            batches.append(reader.get_batch(part.column * part.parts + part.part))
    total = pa.Table.from_batches(batches, COUNTS).group_by("token").aggregate([("count", "sum")])
    total = total.rename_columns({"count_sum": "count"}).select(COUNTS.names)
    kept = total.filter(pc.greater_equal(total["count"], part.min_count)).sort_by("token")
    write_arrow(Path(part.path), kept)
    return int(total.num_rows)


def join_parts(paths: Sequence[Path], path: Path) -> pa.Table:
    """Join the parts of a column to its vocabulary, tokens and counts; write it to ``path`` and return it."""
    whole = pa.concat_tables([read_arrow(part) for part in paths]).sort_by("token")
    write_arrow(path, whole)
    return whole


def look_up_ids(column: pa.Array, path: Path) -> pa.Array:
    """Return the ids of a column of tokens.

    Args:
        column: Dictionary column of tokens.
        path: File of the column's vocabulary.
    """
    vocabulary = map_arrow(path)["token"].combine_chunks()
    oov = len(vocabulary) + 1
    id_of_code = np.append(_positions(column.dictionary, vocabulary) + 1, oov).astype(np.int32)
    id_of_code[id_of_code == 0] = oov
    codes = pc.fill_null(column.indices, len(column.dictionary)).to_numpy(zero_copy_only=False)
    return pa.array(id_of_code[codes])


def _positions(tokens: pa.Array, vocabulary: pa.Array) -> npt.NDArray[np.int64]:
    """Return the position of each token in the vocabulary, or -1.

    The smaller side is hashed, so that a large vocabulary is only scanned.
    """
    if len(vocabulary) <= len(tokens):
        return _without_null(pc.index_in(tokens, value_set=vocabulary))
    unique = pc.dictionary_encode(tokens)
    found = _without_null(pc.index_in(vocabulary, value_set=unique.dictionary))
    members = np.flatnonzero(found >= 0)
    position = np.full(len(unique.dictionary), -1, np.int64)
    position[found[members]] = members
    return np.asarray(position[unique.indices.to_numpy()])


def _without_null(positions: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(positions, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _assign_parts(tokens: pa.Array, parts: int) -> npt.NDArray[np.int64]:
    """Return the part of each token, from its last three bytes, which spreads decimal numbers evenly."""
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
