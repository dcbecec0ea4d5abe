"""Which rows of a user's table go where: their splits, their lists, and the shards that are written."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from experiments.data.table.rows import Rows
from trainers.data import prepared
from trainers.data.schema import SPLITS


def splits_of_rows(rows: Rows, name: str) -> npt.NDArray[np.int8]:
    """The index in :data:`~trainers.data.schema.SPLITS` of every row.

    Args:
        rows: The table.
        name: Column that says train, valid or test.

    Raises:
        ValueError: The column holds something else, or a split is empty.
    """
    values = rows.column(name)
    counts = {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
    shown = ", ".join(f"{value!r} in {count} rows" for value, count in list(counts.items())[:10]) or "no row at all"
    if unknown := [value for value in counts if value not in SPLITS]:
        mask = pc.is_null(values) if unknown[0] is None else pc.equal(values, pa.scalar(unknown[0], values.type))
        row = int(np.argmax(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"split column {name!r} holds {unknown[0]!r} in {rows.where(row)}; allowed are {list(SPLITS)}, "
            f"found {shown}. Rename the values, or drop the rows"
        )
    if empty := [part for part in SPLITS if part not in counts]:
        raise ValueError(
            f"split {empty[0]!r} is empty: column {name!r} holds {shown}. Each of {list(SPLITS)} needs rows"
        )
    places = pc.index_in(values, value_set=pa.array(SPLITS, values.type))
    return np.asarray(places.cast(pa.int8()).to_numpy(zero_copy_only=False))


def query_keys(rows: Rows, name: str) -> npt.NDArray[np.int64]:
    """One integer per row, equal within a list and ordered as the column's values are.

    Args:
        rows: The table.
        name: Column that groups rows into lists.

    Raises:
        ValueError: A row has no value, or values are neither integers nor text.
    """
    values = rows.column(name)
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"query column {name!r} is null in {rows.where(row)}; every row belongs to a list, give it one"
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
    rows: Rows, query: str, split: npt.NDArray[np.int8], keys: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Row numbers in the order of writing.

    Args:
        rows: The table.
        query: Column that groups rows into lists.
        split: Split of every row.
        keys: List of every row.

    Raises:
        ValueError: A list lies in two splits.
    """
    order = np.lexsort((split, keys))
    torn = (keys[order][1:] == keys[order][:-1]) & (split[order][1:] != split[order][:-1])
    if torn.any():
        at = int(np.argmax(torn))
        one, other = int(order[at]), int(order[at + 1])
        raise ValueError(
            f"a list of query column {query!r} lies in two splits: {rows.where(one)} is in "
            f"{SPLITS[split[one]]}, {rows.where(other)} in {SPLITS[split[other]]}; "
            "put all rows of a query in one split, or evaluation would see what training saw"
        )
    return order


def shards(
    table: pa.Table,
    mine: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64] | None,
    keys: npt.NDArray[np.int64] | None,
) -> Iterator[pa.Table]:
    """The rows of a split in shards of :data:`~trainers.data.prepared.SHARD_ROWS`; no list is cut.

    Args:
        table: Encoded rows of all splits.
        mine: Which of them are in the split.
        order: Row numbers in the order of writing; ``None`` for the order of the table.
        keys: List of every row, or ``None``.
    """
    rows = np.flatnonzero(mine) if order is None else order[mine[order]]
    sorted_keys = None if keys is None else keys[rows]
    start = 0
    while start < len(rows):
        stop = min(start + prepared.SHARD_ROWS, len(rows))
        if sorted_keys is not None and stop < len(rows):
            # Back to the start of the list that would be cut; on to its end when it fills the whole shard.
            first = int(np.searchsorted(sorted_keys, sorted_keys[stop], side="left"))
            stop = first if first > start else int(np.searchsorted(sorted_keys, sorted_keys[stop], side="right"))
        yield table.take(pa.array(rows[start:stop]))
        start = stop
