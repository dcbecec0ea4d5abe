"""A user's own table: one Parquet file, or a folder of them, split by a column, by time or at random.

Every column has one role (:class:`~nmt.experiments.data.table.roles.Roles`), which alone decides how it is encoded:

* *categorical*: ids from a vocabulary of the training split. 0 is PAD (no row has it), ``1 … n`` are the tokens in
  sorted order, the last id is OOV. OOV stands for nulls, and for tokens that fewer than ``min_count`` training rows
  have.
* *numeric*: ``float32``, after ``log(1 + x)`` where ``log1p`` names the column. A null or NaN becomes the training
  mean, which is zero after standardisation.
* *label*: ``float32``; a null stays null and means that the row has no label.
* *packed*: fixed-width bytes of bits (``numpy.packbits``).
* *query*: groups rows into lists. Rows are sorted so that a list's rows are adjacent; a list lies in one split.

The table is checked here, once. An error names the place of a value that cannot be used, and a remedy.

Columns are read and encoded one at a time, and wait on disk, beside the result, until the shards are written. Memory
holds one column (about 25 bytes a row for numbers; its text and 4 bytes a row for tokens) and 1 byte a row for the
splits, or 17 with a query column, however many columns there are. The disk holds 4 bytes a cell twice. Rows keep the
order of the files unless there is a query column. Sorting by query reads at random positions, which is slow for a table
larger than memory that is far from that order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.experiments.data.common.arrow_file import map_arrow, write_arrow
from nmt.experiments.data.common.cache import prepare_once
from nmt.experiments.data.table.encoded_columns import encode_categorical, encode_label, encode_numeric, encode_packed
from nmt.experiments.data.table.raw_table import ParquetTable, RawTable, join_names
from nmt.experiments.data.table.roles import Roles
from nmt.experiments.data.table.row_order import list_order, query_keys, shards
from nmt.experiments.data.table.splits import Declared, Splitter, suggest
from nmt.trainers.data import prepared, schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.numbers import NumberColumn
from nmt.trainers.encoding.tokens import TokenColumn

RECIPE = 2
"""Version of this preparation, part of every cache key: raise it when the result changes."""


def prepare(
    path: str | None,
    cache: Path,
    *,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    labels: Sequence[str] | Mapping[str, int | None],
    packed: Mapping[str, int] | None = None,
    query: str | None = None,
    split: Declared = "split",
    min_count: int = 1,
    log1p: Sequence[str] = (),
) -> Path:
    """Prepare a user's Parquet table.

    Args:
        path: A Parquet file, or a folder of them, on a file system of this machine.
        cache: Folder of prepared folders. The same files (path, size, time of change) with the same options are
            prepared once.
        categorical: Columns of tokens.
        numeric: Columns of numbers.
        labels: Column → number of classes (2 = binary, 0 = real-valued), or a list of columns. For a list the number
            is inferred: 2 if the values are 0 and 1, n if they are integers from 0 to n - 1, else 0.
        packed: Column → number of bits, for features stored as packed bytes.
        query: Column that groups rows into lists.
        split: Column with the values train, valid and test; or ``{by: time, column: ts, valid: 0.1, test: 0.1}``, or
            ``{by: random, valid: 0.1, test: 0.1, group: user_id, seed: 0}``.
        min_count: Tokens that fewer training rows have share the id OOV.
        log1p: Numeric columns to transform by ``log(1 + x)``.

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
        labels=dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(_refuse_duplicates(labels)),
        packed=dict(packed or {}),
        query=query,
        split=dict(split) if isinstance(split, Mapping) else split,
        min_count=min_count,
        log1p=tuple(log1p),
    )
    table = ParquetTable(path)
    stem = Path(str(path)).expanduser().resolve().stem
    key = {"recipe": RECIPE, "roles": asdict(roles), "files": table.stamp}
    return prepare_once(cache, stem, key, lambda folder: build(table, roles, folder, source=str(path)))


def build(table: RawTable, roles: Roles, folder: Path, *, source: str) -> schema.Schema:
    """Encode a table's columns by their roles and write the prepared folder.

    Args:
        table: The table.
        roles: Roles of its columns.
        folder: Folder to write.
        source: Description of the data, shown to people.

    Returns:
        The schema as written.

    Raises:
        ValueError: A column is missing, or has a value that its role does not allow.
    """
    splitter = Splitter.of(roles.split, roles.query)
    if isinstance(roles.split, str) and roles.split not in table.names:
        raise ValueError(suggest(table.names, source, roles.split))
    if missing := [name for name in (*roles.columns, *splitter.columns) if name not in table.names]:
        raise ValueError(
            f"{source} has no column {join_names(missing)}; it has {join_names(table.names)}. Correct the names"
        )
    split = splitter.split(table)
    train = split == 0
    keys: npt.NDArray[np.int64] | None = None
    order: npt.NDArray[np.int64] | None = None
    if roles.query is not None:
        keys = query_keys(table, roles.query)
        order = list_order(table, roles.query, split, keys)

    tokens: dict[str, TokenColumn] = {}
    counts: dict[str, npt.NDArray[np.int64]] = {}
    numbers: dict[str, NumberColumn] = {}
    statistics: dict[str, schema.Numeric] = {}
    classes: dict[str, int] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        encoded = _EncodedColumns(Path(temporary))
        if roles.query is not None:
            encoded.add(roles.query, pa.array(keys))
        for name in roles.labels:
            with _named(name):
                column, classes[name] = encode_label(table, name, roles.labels[name], split)
                encoded.add(name, column)
        for name in roles.categorical:
            with _named(name):
                column, tokens[name], counts[name] = encode_categorical(table, name, train, roles.min_count)
                encoded.add(name, column)
        for name in roles.numeric:
            with _named(name):
                column, numbers[name], statistics[name] = encode_numeric(table, name, train, name in roles.log1p)
                encoded.add(name, column)
        for name, bits in roles.packed.items():
            with _named(name):
                encoded.add(name, encode_packed(table, name, bits))
        vocabulary = {name: column.size for name, column in tokens.items()}
        return prepared.write(
            folder,
            schema.Schema(vocabulary, statistics, roles.packed, classes, roles.query, source=source),
            {name: shards(encoded.table(), split == i, order, keys) for i, name in enumerate(schema.SPLITS)},
            Encoder(tokens, numbers, roles.packed, roles.query, roles.min_count, counts),
        )


@contextmanager
def _named(column: str) -> Iterator[None]:
    """Turn what pyarrow cannot do with a column into an error that names it."""
    try:
        yield
    except pa.ArrowException as error:
        text = str(error).partition("\n")[0]
        raise ValueError(
            f"column {column!r} cannot be read in its role: {text}; convert it, or leave it out"
        ) from error


class _EncodedColumns:
    """Encoded columns in files that are mapped into memory, so that the system may drop their pages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, pa.ChunkedArray] = {}

    def add(self, name: str, column: pa.Array) -> None:
        """Write a column to a file, and map it."""
        path = self._folder / f"{len(self._columns)}.arrow"
        write_arrow(path, pa.record_batch([column], names=["column"]))
        self._columns[name] = map_arrow(path).column(0)

    def table(self) -> pa.Table:
        """Return all columns as one table."""
        return pa.table(self._columns)


def _refuse_duplicates(labels: Sequence[str]) -> Sequence[str]:
    if duplicates := [name for name in dict.fromkeys(labels) if labels.count(name) > 1]:
        raise ValueError(f"labels names {duplicates} more than once; name each column once")
    return labels
