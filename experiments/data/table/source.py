"""A user's own table: one Parquet file, or a folder of them, with a ``split`` column.

Every column has one role (:class:`Roles`). What a column becomes depends on the role alone:

* *categorical*: ids from a vocabulary of the training split only. 0 is PAD (no row has it), ``1 … n`` are the tokens
  in sorted order, the last id is OOV. OOV stands for a token that training never showed, or showed fewer than
  ``min_count`` times, and for a null.
* *numeric*: ``float32``, after ``log(1 + x)`` where ``log1p`` names the column. A null (or NaN) becomes the training
  mean, which is zero after standardisation.
* *label*: ``float32``; a null stays null and means *no label here*.
* *packed*: fixed-width bytes of bits (``numpy.packbits``).
* *query*: groups rows into lists. Rows are sorted so that the rows of a list are adjacent; a list lies in one split.

This is the front door for data that nobody has checked, so everything is checked here, once, and refused with the
place and the remedy. Columns are read and encoded one at a time, and wait encoded on disk, beside the result, until
shards are made of them: memory holds one column at a time (about 25 bytes a row for numbers, its text and 4 bytes for
tokens) and 1 byte a row, or 17 with a query column, whatever the number of columns. The disk takes 4 bytes a cell
twice. Rows without a query column keep the order of the files; lists are sorted by their query, and a table that is far
from that order is read here and there, which is slow where it is larger than memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experiments.data.prepared.cache import cached
from experiments.data.table.encoded_columns import encode_categorical, encode_label, encode_numeric, encode_packed
from experiments.data.table.roles import Roles
from experiments.data.table.row_order import list_order, query_keys, shards, splits_of_rows
from experiments.data.table.rows import Files, Rows, shown
from trainers.data import prepared, schema

RECIPE = 1
"""Version of what this module makes of a table; part of every cache key."""


def prepare(
    path: str | None,
    cache: Path,
    *,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    labels: Sequence[str] | Mapping[str, int | None],
    packed: Mapping[str, int] | None = None,
    query: str | None = None,
    split: str = "split",
    min_count: int = 1,
    log1p: Sequence[str] = (),
) -> Path:
    """Prepare a Parquet table of the user's.

    Args:
        path: A Parquet file, or a folder of them, on a file system that this machine sees.
        cache: Where the prepared folder goes. The same files (path, size, time of change) with the same options are
            prepared once.
        categorical: Columns of tokens.
        numeric: Columns of numbers.
        labels: Label columns; as a mapping, column → number of classes (2 = binary, 0 = real-valued). In a list,
            the number is inferred: 2 when the values are 0 and 1, n for integers from 0 to n - 1, else 0.
        packed: Column → number of bits, for features stored as packed bytes.
        query: Column that groups rows into lists.
        split: Column with the values train, valid and test.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        log1p: Numeric columns to take as ``log(1 + x)``.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: There is no Parquet file at ``path``.
        ValueError: A column, a value or an option cannot be used; the message says which, and what to do.
    """
    for name, value in {"categorical": categorical, "numeric": numeric, "labels": labels, "log1p": log1p}.items():
        if isinstance(value, str):
            raise ValueError(f"{name} is the text {value!r}; give a list of columns, e.g. [{value}]")
    if packed is not None and not hasattr(packed, "items"):
        raise ValueError(f"packed is {packed!r}; give column: number of bits, e.g. {{fingerprint: 1024}}")
    roles = Roles(
        categorical=tuple(categorical),
        numeric=tuple(numeric),
        labels=dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(_once(labels)),
        packed=dict(packed or {}),
        query=query,
        split=split,
        min_count=min_count,
        log1p=tuple(log1p),
    )
    files = Files(path)
    stem = Path(str(path)).expanduser().resolve().stem
    folder = cached(cache, stem, {"recipe": RECIPE, "roles": asdict(roles), "files": files.stamp})
    if not (folder / "schema.json").exists():
        build(files, roles, folder, source=str(path))
    return folder


def build(rows: Rows, roles: Roles, folder: Path, *, source: str) -> schema.Schema:
    """Encode rows by their roles and write the prepared folder.

    Args:
        rows: The table.
        roles: What each column is.
        folder: Where to write.
        source: What the data are, for people.

    Returns:
        The schema as written.

    Raises:
        ValueError: A column is missing, or holds what its role does not allow.
    """
    if missing := [name for name in roles.columns if name not in rows.names]:
        raise ValueError(f"{source} has no column {shown(missing)}; it has {shown(rows.names)}. Correct the names")
    split = splits_of_rows(rows, roles.split)
    train = split == 0
    keys: npt.NDArray[np.int64] | None = None
    order: npt.NDArray[np.int64] | None = None
    if roles.query is not None:
        keys = query_keys(rows, roles.query)
        order = list_order(rows, roles.query, split, keys)

    vocabulary: dict[str, int] = {}
    statistics: dict[str, schema.Numeric] = {}
    classes: dict[str, int] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as waiting:
        encoded = _Waiting(Path(waiting))
        if roles.query is not None:
            encoded.add(roles.query, pa.array(keys))
        for name in roles.labels:
            column, classes[name] = encode_label(rows, name, roles.labels[name], split)
            encoded.add(name, column)
        for name in roles.categorical:
            column, vocabulary[name] = encode_categorical(rows, name, train, roles.min_count)
            encoded.add(name, column)
        for name in roles.numeric:
            column, statistics[name] = encode_numeric(rows, name, train, name in roles.log1p)
            encoded.add(name, column)
        for name, bits in roles.packed.items():
            encoded.add(name, encode_packed(rows, name, bits))
        return prepared.write(
            folder,
            schema.Schema(vocabulary, statistics, roles.packed, classes, roles.query, source=source),
            {name: shards(encoded.table(), split == i, order, keys) for i, name in enumerate(schema.SPLITS)},
        )


class _Waiting:
    """Encoded columns, each in a file that is mapped into memory: the system may take its pages back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, pa.ChunkedArray] = {}

    def add(self, name: str, column: pa.Array) -> None:
        """Write a column down."""
        path = self._folder / f"{len(self._columns)}.arrow"
        batch = pa.record_batch([column], names=["column"])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
            self._columns[name] = reader.read_all().column(0)

    def table(self) -> pa.Table:
        """All columns."""
        return pa.table(self._columns)


def _once(names: Sequence[str]) -> Sequence[str]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"labels names {twice} more than once; name each column once")
    return names
