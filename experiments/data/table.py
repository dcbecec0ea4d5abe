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

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from experiments.data.rows import Files, Rows, shown
from trainers.data import prepared, schema

RECIPE = 1
"""Version of what this module makes of a table; part of every cache key."""

MAX_INFERRED_CLASSES = 100
"""Integer labels with more values than this are taken for real-valued unless the number of classes is given."""


@dataclass(frozen=True)
class Roles:
    """Which column of a table is what.

    Attributes:
        categorical: Columns of tokens: integers, strings, booleans, dates.
        numeric: Columns of numbers.
        labels: Column → number of classes (2 = binary, 0 = real-valued, ``None`` = infer from the values).
        packed: Column → number of bits, a multiple of 8.
        query: Column that groups rows into lists, or ``None``.
        split: Column that says train, valid or test.
        min_count: A token needs this many training rows to have an id of its own.
        log1p: The numeric columns to take as ``log(1 + x)``, e.g. counts and durations.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    labels: Mapping[str, int | None] = field(default_factory=dict)
    packed: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    split: str = "split"
    min_count: int = 1
    log1p: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _whole(self.min_count, least=1):
            raise ValueError(f"min_count is {self.min_count!r}; give 1 (every token has an id) or more")
        if not self.labels:
            raise ValueError("labels is empty; name at least one label column, every task needs one")
        if not (self.categorical or self.numeric or self.packed):
            raise ValueError("there is no feature column; name some under categorical, numeric or packed")
        seen: dict[str, str] = {}
        for role, names in self._named().items():
            for name in names:
                if name in seen:
                    raise ValueError(
                        f"column {name!r} is named under {seen[name]} and under {role}; a column has one role "
                        "(a label among the features would give the answer away)"
                    )
                seen[name] = role
        if unknown := [name for name in self.log1p if name not in self.numeric]:
            raise ValueError(f"log1p names {unknown}, allowed are the numeric columns {list(self.numeric)}")
        for name, bits in self.packed.items():
            if not _whole(bits, least=8) or bits % 8:
                raise ValueError(f"packed column {name!r} is said to hold {bits!r} bits; give a positive multiple of 8")
        for name, classes in self.labels.items():
            if classes is not None and (not _whole(classes, least=0) or classes == 1):
                raise ValueError(
                    f"label {name!r} is said to have {classes!r} classes; give 2 for binary, n for n classes, "
                    "0 for a real-valued label"
                )

    def _named(self) -> dict[str, Sequence[str]]:
        return {
            "split": [self.split],
            "query": [self.query] if self.query else [],
            "labels": list(self.labels),
            "categorical": self.categorical,
            "numeric": self.numeric,
            "packed": list(self.packed),
        }

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        return [name for names in self._named().values() for name in names]


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


def cached(cache: Path, name: str, recipe: Mapping[str, Any]) -> Path:
    """The folder under ``cache`` of a result: named after what it is made from, hashed over all of ``recipe``."""
    text = json.dumps({"format": schema.VERSION, **recipe}, sort_keys=False)
    return cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


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
    split = _splits(rows, roles.split)
    train = split == 0
    keys = None if roles.query is None else _query(rows, roles.query)
    order = None if keys is None else _order(rows, roles, split, keys)

    vocabulary: dict[str, int] = {}
    statistics: dict[str, schema.Numeric] = {}
    classes: dict[str, int] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as waiting:
        encoded = _Waiting(Path(waiting))
        if roles.query is not None:
            encoded.add(roles.query, pa.array(keys))
        for name in roles.labels:
            column, classes[name] = _label(rows, name, roles.labels[name], split)
            encoded.add(name, column)
        for name in roles.categorical:
            column, vocabulary[name] = _categorical(rows, name, train, roles.min_count)
            encoded.add(name, column)
        for name in roles.numeric:
            column, statistics[name] = _numeric(rows, name, train, name in roles.log1p)
            encoded.add(name, column)
        for name, bits in roles.packed.items():
            encoded.add(name, _packed(rows, name, bits))
        return prepared.write(
            folder,
            schema.Schema(vocabulary, statistics, roles.packed, classes, roles.query, source=source),
            {name: _shards(encoded.table(), split == i, order, keys) for i, name in enumerate(schema.SPLITS)},
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


def _categorical(rows: Rows, name: str, train: npt.NDArray[np.bool_], min_count: int) -> tuple[pa.Array, int]:
    """Ids of a column of tokens, and the size of the vocabulary with PAD and OOV."""
    values = rows.column(name)
    if pa.types.is_nested(values.type):
        raise ValueError(f"categorical column {name!r} holds {values.type}; give one token a row (text or a number)")
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_floating(values.type):
        values = _without_nan(values)
    counts = pc.value_counts(values.filter(pa.array(train)))
    tokens, seen = counts.field("values"), counts.field("counts")
    tokens = tokens.filter(pc.and_(pc.greater_equal(seen, min_count), pc.is_valid(tokens)))
    tokens = tokens.take(pc.sort_indices(tokens))
    ids = pc.fill_null(pc.add(pc.index_in(values, value_set=tokens), 1), len(tokens) + 1)
    return ids.cast(pa.int32()), len(tokens) + 2


def _numeric(rows: Rows, name: str, train: npt.NDArray[np.bool_], log1p: bool) -> tuple[pa.Array, schema.Numeric]:
    """A column of numbers as float32 without gaps, and its statistics over the training split."""
    values = _numbers(rows, name, "numeric", "list it under categorical, or convert it to numbers")
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64, copy=True)
    del values
    with np.errstate(over="ignore"):
        infinite = np.isinf(numbers.astype(np.float32))
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"numeric column {name!r} holds {numbers[row]} in {rows.where(row)}; finite float32 values are allowed, "
            "make it null if it means missing"
        )
    if log1p:
        if (negative := numbers < 0).any():
            row = int(np.argmax(negative))
            raise ValueError(
                f"numeric column {name!r} holds {numbers[row]} in {rows.where(row)}; log1p takes values from 0 up, "
                "take the column out of log1p, or make the value null if it means missing"
            )
        numbers = np.log1p(numbers)
    known = numbers[train & ~np.isnan(numbers)]
    if not len(known):
        raise ValueError(f"numeric column {name!r} has no value in the training split; leave the column out")
    mean, std = float(known.mean()), float(known.std())
    # A constant column has a std of rounding errors, which would blow up what test rows deviate by.
    constant = std <= 1e-7 * max(1.0, abs(mean))
    numbers[np.isnan(numbers)] = mean
    return pa.array(numbers.astype(np.float32)), schema.Numeric(mean, 1.0 if constant else std)


def _label(rows: Rows, name: str, classes: int | None, split: npt.NDArray[np.int8]) -> tuple[pa.Array, int]:
    """A label column as float32 with nulls, and its number of classes."""
    values = _numbers(rows, name, "label", "code the classes as 0, 1, …")
    known = values.is_valid().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):
        infinite = ~np.isfinite(numbers.astype(np.float32))
    _refuse_label(rows, name, numbers, infinite, "finite numbers and null (missing)")
    for i, part in enumerate(schema.SPLITS):
        if not known[split == i].any():
            raise ValueError(
                f"label {name!r} is null in every row of split {part!r}; leave the label out, or split anew"
            )
    if classes is None:
        classes = _classes(numbers[known], whole=pa.types.is_integer(rows.column(name).type))
    if classes:
        wrong = known & ~((numbers >= 0) & (numbers < classes) & (numbers == np.floor(numbers)))
        _refuse_label(rows, name, numbers, wrong, f"the classes 0 … {classes - 1} and null (missing)")
        found = np.unique(numbers[known & (split == 0)])
        if len(found) < 2:
            raise ValueError(
                f"label {name!r} is {found[0]:g} in every training row that has it; a task needs at least two classes "
                "in training, leave the label out or split anew"
            )
    return pa.array(numbers.astype(np.float32), mask=~known), classes


def _classes(values: npt.NDArray[np.float64], *, whole: bool) -> int:
    """The number of classes that label values speak for; 0 when they look real-valued."""
    if np.isin(values, (0.0, 1.0)).all():
        return 2
    largest = int(values.max())
    return largest + 1 if whole and values.min() >= 0 and largest < MAX_INFERRED_CLASSES else 0


def _refuse_label(
    rows: Rows, name: str, numbers: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_], allowed: str
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"label {name!r} is {numbers[row]:g} in {rows.where(row)} ({int(wrong.sum())} such rows in all); "
            f"allowed are {allowed}. Correct the values, or give the right number of classes under labels"
        )


def _packed(rows: Rows, name: str, bits: int) -> pa.Array:
    """A column of packed bits as fixed-size binary."""
    values = rows.column(name)
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if not any(kind(values.type) for kind in kinds):
        raise ValueError(
            f"packed column {name!r} holds {values.type}; give bytes, one numpy.packbits(…).tobytes() a row"
        )
    wrong = pc.fill_null(pc.not_equal(pc.binary_length(values), bits // 8), True).to_numpy(zero_copy_only=False)
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row].as_py()
        found = "null" if value is None else f"{len(value)} bytes"
        raise ValueError(
            f"packed column {name!r} is {found} in {rows.where(row)}; {bits} bits are {bits // 8} bytes in every row"
        )
    return values.cast(pa.binary(bits // 8))


def _query(rows: Rows, name: str) -> npt.NDArray[np.int64]:
    """One integer per row, equal within a list and ordered as the column's values are."""
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


def _order(rows: Rows, roles: Roles, split: npt.NDArray[np.int8], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row numbers in the order of writing; refuses a list that lies in two splits."""
    order = np.lexsort((split, keys))
    torn = (keys[order][1:] == keys[order][:-1]) & (split[order][1:] != split[order][:-1])
    if torn.any():
        at = int(np.argmax(torn))
        one, other = int(order[at]), int(order[at + 1])
        raise ValueError(
            f"a list of query column {roles.query!r} lies in two splits: {rows.where(one)} is in "
            f"{schema.SPLITS[split[one]]}, {rows.where(other)} in {schema.SPLITS[split[other]]}; "
            "put all rows of a query in one split, or evaluation would see what training saw"
        )
    return order


def _splits(rows: Rows, name: str) -> npt.NDArray[np.int8]:
    """The index in :data:`~trainers.data.schema.SPLITS` of every row."""
    values = rows.column(name)
    counts = {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
    shown = ", ".join(f"{value!r} in {count} rows" for value, count in list(counts.items())[:10]) or "no row at all"
    if unknown := [value for value in counts if value not in schema.SPLITS]:
        mask = pc.is_null(values) if unknown[0] is None else pc.equal(values, pa.scalar(unknown[0], values.type))
        row = int(np.argmax(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"split column {name!r} holds {unknown[0]!r} in {rows.where(row)}; allowed are {list(schema.SPLITS)}, "
            f"found {shown}. Rename the values, or drop the rows"
        )
    if empty := [part for part in schema.SPLITS if part not in counts]:
        raise ValueError(
            f"split {empty[0]!r} is empty: column {name!r} holds {shown}. Each of {list(schema.SPLITS)} needs rows"
        )
    places = pc.index_in(values, value_set=pa.array(schema.SPLITS, values.type))
    return np.asarray(places.cast(pa.int8()).to_numpy(zero_copy_only=False))


def _shards(
    table: pa.Table,
    mine: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64] | None,
    keys: npt.NDArray[np.int64] | None,
) -> Iterator[pa.Table]:
    """The rows of a split in shards of :data:`~trainers.data.prepared.SHARD_ROWS`; no list is cut."""
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


def _numbers(rows: Rows, name: str, role: str, remedy: str) -> pa.Array:
    """A column as float64 with its nulls."""
    values = rows.column(name)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(kind(values.type) for kind in kinds):
        raise ValueError(f"{role} column {name!r} holds {values.type}; numbers are needed, {remedy}")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.float64())


def _without_nan(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _whole(value: object, *, least: int) -> bool:
    """Whether an option, which may come from YAML as anything, is a whole number of at least ``least``."""
    return isinstance(value, int) and value >= least


def _once(names: Sequence[str]) -> Sequence[str]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"labels names {twice} more than once; name each column once")
    return names
