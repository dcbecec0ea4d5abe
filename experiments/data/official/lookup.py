"""Lookup of features by id, in files larger than memory.

The rows of a :class:`~nmt.experiments.data.official.recipe.Join` are stored in blocks that are mapped into memory. Only
their ids are held in memory, at 40 bytes each, while they are sorted; afterwards the sorted ids are mapped as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data.common.arrow_file import map_arrow, write_arrow
from nmt.experiments.data.official.recipe import Join
from nmt.experiments.data.official.text.lines import parse_numbers

KEY = "key"


def write_block(table: pa.Table, join: Join, path: Path) -> None:
    """Write the rows of a block: ids as integers, features as text."""
    keys, _ = parse_numbers(table[join.key])
    columns = {KEY: pa.array(keys.astype(np.int64))}
    columns |= {name: table[name].cast(pa.string()).combine_chunks() for name in (*join.tokens, *join.numbers)}
    write_arrow(path, pa.record_batch(columns))


def build_index(paths: Sequence[Path], folder: Path) -> None:
    """Write the index of all blocks: their sorted ids and the rows of these; equal ids keep their order."""
    folder.mkdir()
    blocks = [map_arrow(path)[KEY] for path in paths]
    keys = pa.chunked_array([chunk for block in blocks for chunk in block.chunks], pa.int64()).to_numpy()
    order = np.argsort(keys, kind="stable")
    np.save(folder / "keys.npy", keys[order])
    np.save(folder / "rows.npy", order)
    np.save(folder / "starts.npy", np.cumsum([0, *(len(block) for block in blocks)]))


def look_up(ids: pa.Array, join: Join, folder: Path, paths: Sequence[Path]) -> dict[str, pa.Array]:
    """Look up the features of a column of ids.

    Args:
        ids: The ids, as a dictionary column of text.
        join: The join.
        folder: Folder of the index.
        paths: Files of the blocks.

    Returns:
        Name in the recipe → features, as a dictionary column of text; null for an id without a row.
    """
    keys, rows = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("keys", "rows"))
    numbers, _ = parse_numbers(
        pa.DictionaryArray.from_arrays(np.arange(len(ids.dictionary), dtype=np.int32), ids.dictionary)
    )
    wanted = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    position = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    known = np.isfinite(numbers) & (keys[position] == wanted if len(keys) else False)
    found = np.asarray(rows[position[known]])
    back = np.full(len(wanted) + 1, len(found), np.int64)  # the last entry is for null
    back[np.flatnonzero(known)] = np.arange(len(found))
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
    """Take rows by their numbers over all blocks, in the given order."""
    order = np.argsort(rows, kind="stable")
    edges = np.searchsorted(rows[order], starts)
    parts = []
    for block, path in enumerate(paths):
        block_rows = rows[order[edges[block] : edges[block + 1]]] - starts[block]
        if len(block_rows) or block == 0:
            parts.append(map_arrow(path).select(list(names)).take(pa.array(block_rows)))
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_tables(parts).combine_chunks().take(pa.array(back))
