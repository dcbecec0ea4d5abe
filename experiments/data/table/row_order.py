"""The list and the shard of each row of a user's table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data.table.raw_table import RawTable
from nmt.trainers.data import prepared
from nmt.trainers.data.schema import SPLITS


def query_keys(table: RawTable, name: str) -> npt.NDArray[np.int64]:
    """Return an integer per row, the same within a list, in the order of the column's values.

    Args:
        table: The table.
        name: Column that groups rows into lists.

    Raises:
        ValueError: A row has no value, or values are neither integers nor text.
    """
    values = table.column(name)
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"query column {name!r} is null in {table.where(row)}; every row belongs to a list, give it one"
        )
    if pa.types.is_floating(values.type) or pa.types.is_nested(values.type):
        raise ValueError(f"query column {name!r} holds {values.type}; give integers or text")
    if pa.types.is_integer(values.type):
        return np.asarray(values.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False))
    found = values.dictionary_encode()
    rank = np.empty(len(found.dictionary), np.int64)
    rank[pc.sort_indices(found.dictionary).to_numpy()] = np.arange(len(rank))
    return np.asarray(rank[found.indices.to_numpy()])


def list_order(
    table: RawTable, query: str, split: npt.NDArray[np.int8], keys: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return row numbers in the order in which they are written: by list, then as in the table.

    Args:
        table: The table.
        query: Column that groups rows into lists.
        split: Split of each row.
        keys: List of each row.

    Raises:
        ValueError: A list has rows in two splits.
    """
    order = np.lexsort((split, keys))
    divided = (keys[order][1:] == keys[order][:-1]) & (split[order][1:] != split[order][:-1])
    if divided.any():
        at = int(np.argmax(divided))
        one, other = int(order[at]), int(order[at + 1])
        raise ValueError(
            f"a list of query column {query!r} lies in two splits: {table.where(one)} is in "
            f"{SPLITS[split[one]]}, {table.where(other)} in {SPLITS[split[other]]}; "
            "put all rows of a query in one split, or evaluation would see what training saw"
        )
    return order


def shards(
    table: pa.Table,
    mask: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64] | None,
    keys: npt.NDArray[np.int64] | None,
) -> Iterator[pa.Table]:
    """Yield the rows of a split in shards of about :data:`~nmt.trainers.data.prepared.SHARD_ROWS`; a list stays whole.

    Args:
        table: Encoded rows of all splits.
        mask: Mask of the rows of the split.
        order: Row numbers in the order in which they are written; ``None`` for the order of the table.
        keys: List of each row, or ``None``.
    """
    rows = np.flatnonzero(mask) if order is None else order[mask[order]]
    sorted_keys = None if keys is None else keys[rows]
    start = 0
    while start < len(rows):
        stop = min(start + prepared.SHARD_ROWS, len(rows))
        if sorted_keys is not None and stop < len(rows):
            # Back to the start of the list that would be cut, or on to its end if it fills the whole shard.
            first = int(np.searchsorted(sorted_keys, sorted_keys[stop], side="left"))
            stop = first if first > start else int(np.searchsorted(sorted_keys, sorted_keys[stop], side="right"))
        yield table.take(pa.array(rows[start:stop]))
        start = stop
