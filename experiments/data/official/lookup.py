"""Features of an id, looked up in files larger than memory.

The rows of a :class:`~experiments.data.official.recipe.Join` wait on disk in blocks, mapped into memory when they are
read; held are their ids alone, 40 bytes each while they are sorted, and mapped ones afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from experiments.data.official.lines import numbers_of
from experiments.data.official.recipe import Join

KEY = "key"


def write_block(table: pa.Table, join: Join, path: Path) -> None:
    """Put down the rows of a block: ids as integers, features as text."""
    keys, _ = numbers_of(table[join.key])
    columns = {KEY: pa.array(keys.astype(np.int64))}
    columns |= {name: table[name].cast(pa.string()).combine_chunks() for name in (*join.tokens, *join.numbers)}
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def index(paths: Sequence[Path], folder: Path) -> None:
    """Sort the ids of all blocks; of rows with the same id the first comes first."""
    folder.mkdir()
    found = [_batch(path).column(0).to_numpy() for path in paths]
    keys = np.concatenate(found)
    order = np.argsort(keys, kind="stable")
    np.save(folder / "keys.npy", keys[order])
    np.save(folder / "rows.npy", order)
    np.save(folder / "starts.npy", np.cumsum([0, *(len(part) for part in found)]))


def look_up(ids: pa.Array, join: Join, folder: Path, paths: Sequence[Path]) -> dict[str, pa.Array]:
    """Features of a column of ids.

    Args:
        ids: The ids, as a dictionary of text.
        join: Which features.
        folder: The index.
        paths: The blocks.

    Returns:
        Feature, under its name in the recipe → a dictionary of text; missing where there is no row of the id.
    """
    keys, rows = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("keys", "rows"))
    spelled, _ = numbers_of(
        pa.DictionaryArray.from_arrays(np.arange(len(ids.dictionary), dtype=np.int32), ids.dictionary)
    )
    wanted = np.where(np.isfinite(spelled), spelled, -1).astype(np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    there = np.isfinite(spelled) & (keys[place] == wanted if len(keys) else False)
    found = np.asarray(rows[place[there]])
    back = np.full(len(wanted) + 1, len(found), np.int64)  # the last: a missing id
    back[np.flatnonzero(there)] = np.arange(len(found))
    codes = pc.fill_null(ids.indices, len(wanted)).to_numpy(zero_copy_only=False)
    table = _take(found, np.load(folder / "starts.npy"), paths, (*join.tokens, *join.numbers))
    features = {}
    for name in (*join.tokens, *join.numbers):
        coded = pc.dictionary_encode(table[name].combine_chunks())
        of_id = np.append(pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False), -1)[back[codes]]
        features[join.renamed.get(name, name)] = pa.DictionaryArray.from_arrays(
            pa.array(of_id.astype(np.int32), mask=of_id < 0), coded.dictionary
        )
    return features


def _take(
    rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], paths: Sequence[Path], names: Sequence[str]
) -> pa.Table:
    """Rows by their numbers over all blocks, in the order asked."""
    order = np.argsort(rows, kind="stable")
    edges = np.searchsorted(rows[order], starts)
    parts = []
    for block, path in enumerate(paths):
        mine = rows[order[edges[block] : edges[block + 1]]] - starts[block]
        if len(mine) or block == 0:
            parts.append(pa.Table.from_batches([_batch(path).select(list(names)).take(pa.array(mine))]))
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_tables(parts).combine_chunks().take(pa.array(back))


def _batch(path: Path) -> pa.RecordBatch:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.get_batch(0)
