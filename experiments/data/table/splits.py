"""How the rows of a user's table are split into training, validation and test rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data.table.raw_table import RawTable
from nmt.trainers.data.schema import SPLITS

TRAIN, VALID, TEST = range(3)

Declared = str | Mapping[str, Any]
"""``split`` of an experiment file: the name of a column, or a mapping with ``by``."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "time": ("by", "column", "valid", "test", "valid_from", "test_from"),
    "random": ("by", "valid", "test", "group", "seed"),
}
"""``by`` → the keys that go with it."""


@dataclass(frozen=True)
class Splitter:
    """How rows are split.

    Attributes:
        by: ``column``, ``time`` or ``random``.
        column: The column that says it, or that orders the rows.
        valid: Share of the validation rows.
        test: Share of the test rows.
        valid_from: First time of the validation rows, instead of shares.
        test_from: First time of the test rows.
        group: Column whose values each lie in one split, such as a user.
        seed: Seed of a random split.
    """

    by: str
    column: str | None = None
    valid: float = 0.1
    test: float = 0.1
    valid_from: Any = None
    test_from: Any = None
    group: str | None = None
    seed: int = 0

    @classmethod
    def of(cls, declared: Declared, query: str | None = None) -> Splitter:
        """Read what a file declares.

        Args:
            declared: The name of a column with train, valid and test, or a mapping.
            query: Column that groups rows into lists; a random split keeps lists whole.

        Raises:
            ValueError: A key is unknown or missing, or a share is out of range.
        """
        if isinstance(declared, str):
            return cls("column", declared)
        by = str(declared.get("by"))
        if by not in KEYS:
            raise ValueError(f"split.by is {by!r}; {HOW}")
        if unknown := [key for key in declared if key not in KEYS[by]]:
            raise ValueError(f"split has the keys {unknown}; with by: {by} allowed are {list(KEYS[by])}")
        found = cls(**declared)
        if by == "random" and query is not None and found.group is None:
            found = cls(**{**declared, "group": query})
        if by == "time" and found.column is None:
            raise ValueError("split by time needs column: the column with the time, such as {by: time, column: ts}")
        if (found.valid_from is None) != (found.test_from is None):
            raise ValueError("split by time needs valid_from and test_from together, or shares valid and test")
        for name in ("valid", "test"):
            share = getattr(found, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
                raise ValueError(f"split.{name} is {share!r}; give a share of the rows between 0 and 1, such as 0.1")
        if found.valid + found.test >= 1:
            raise ValueError(f"split.valid and split.test are {found.valid} and {found.test}; nothing is left to train")
        if isinstance(found.seed, bool) or not isinstance(found.seed, int):
            raise ValueError(f"split.seed is {found.seed!r}; give a whole number")
        return found

    @property
    def columns(self) -> list[str]:
        """Columns that it reads."""
        return [name for name in (self.column, self.group) if name is not None]

    def split(self, table: RawTable) -> npt.NDArray[np.int8]:
        """Return the index in :data:`~nmt.trainers.data.schema.SPLITS` of each row.

        Raises:
            ValueError: A value does not say it, or a split would be empty.
        """
        match self.by:
            case "column":
                return _by_column(table, str(self.column))
            case "time":
                found = self._by_time(table)
            case _:
                found = self._at_random(table)
        counts = np.bincount(found, minlength=3)
        if not counts.all():
            shown = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, counts, strict=True))
            raise ValueError(f"the split leaves {shown} rows; every part needs some: change the shares or the times")
        return found

    def _by_time(self, table: RawTable) -> npt.NDArray[np.int8]:
        assert self.column is not None
        values = table.column(self.column)
        if values.null_count:
            row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(f"split column {self.column!r} is null in {table.where(row)}; every row needs its time")
        if self.valid_from is not None:
            edges = [_as(values.type, edge, self.column) for edge in (self.valid_from, self.test_from)]
        else:
            order = values.take(pc.sort_indices(values))
            places = (1 - self.valid - self.test, 1 - self.test)
            edges = [order[min(len(order) - 1, round(share * len(order)))] for share in places]
        # Rows of one time lie in one split.
        later = [pc.greater_equal(values, edge).to_numpy(zero_copy_only=False) for edge in edges]
        return np.where(later[1], TEST, np.where(later[0], VALID, TRAIN)).astype(np.int8)

    def _at_random(self, table: RawTable) -> npt.NDArray[np.int8]:
        if self.group is None:
            rows = len(table.column(table.names[0]))
            chance = np.random.default_rng(self.seed).random(rows)
        else:
            found = table.column(self.group).dictionary_encode(null_encoding="encode")
            # By a hash of the value: a user stays in their split when rows are added.
            of_value = np.array([_chance(value, self.seed) for value in found.dictionary.to_pylist()])
            chance = of_value[found.indices.to_numpy()]
        return np.where(chance < self.test, TEST, np.where(chance < self.test + self.valid, VALID, TRAIN)).astype(
            np.int8
        )


def _chance(value: object, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed} {value!r}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _as(kind: pa.DataType, edge: object, column: str) -> pa.Scalar:
    """Return a cut point in the type of the column; a file has dates and times as text."""
    try:
        return pa.scalar(str(edge)).cast(kind) if isinstance(edge, str) else pa.scalar(edge, kind)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"split at {edge!r}: column {column!r} holds {kind}; give a value of that kind") from error


def suggest(names: Sequence[str], source: str, column: str) -> str:
    """Say which splits can be made where a table has no column that says it."""
    times = [name for name in names if any(word in name.lower() for word in ("time", "date", "day", "ts"))]
    groups = [name for name in names if name.lower().endswith(("user", "user_id", "userid", "customer", "customer_id"))]
    time = f"{{by: time, column: {times[0] if times else 'TIMESTAMP'}, valid: 0.1, test: 0.1}}"
    group = f", group: {groups[0]}" if groups else ""
    return (
        f"{source} has no column {column!r} that says which rows are for train, valid and test. Set data.options.split "
        f"to {time}, the latest rows last; to {{by: random, valid: 0.1, test: 0.1{group}}}; or to the name of a column "
        f"that says it. It has {list(names)}"
    )


def _by_column(table: RawTable, name: str) -> npt.NDArray[np.int8]:
    values = table.column(name)
    counts = {item["values"]: item["counts"] for item in pc.value_counts(values).to_pylist()}
    shown = ", ".join(f"{value!r} in {count} rows" for value, count in list(counts.items())[:10]) or "no row at all"
    if unknown := [value for value in counts if value not in SPLITS]:
        mask = pc.is_null(values) if unknown[0] is None else pc.equal(values, pa.scalar(unknown[0], values.type))
        row = int(np.argmax(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)))
        raise ValueError(
            f"split column {name!r} holds {unknown[0]!r} in {table.where(row)}; allowed are {list(SPLITS)}, "
            f"found {shown}. Rename the values, drop the rows, or split by something else: {HOW}"
        )
    if empty := [part for part in SPLITS if part not in counts]:
        raise ValueError(
            f"split {empty[0]!r} is empty: column {name!r} holds {shown}. Each of {list(SPLITS)} needs rows"
        )
    indices = pc.index_in(values, value_set=pa.array(SPLITS, values.type))
    return np.asarray(indices.cast(pa.int8()).to_numpy(zero_copy_only=False))


HOW = (
    "give {by: time, column: …, valid: 0.1, test: 0.1}, {by: random, valid: 0.1, test: 0.1, group: …}, or the name of "
    "a column that holds train, valid and test"
)
