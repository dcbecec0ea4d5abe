"""Columns of a user's table, encoded by their roles.

:mod:`nmt.experiments.data.table.source` says what each role does. A value that its role does not allow is a
:class:`ValueError` that names the column, the row and the remedy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data.common.standardisation import numeric_statistics
from nmt.experiments.data.table.raw_table import RawTable
from nmt.trainers.data.schema import SPLITS, Numeric
from nmt.trainers.encoding.numbers import NumberColumn, to_float64
from nmt.trainers.encoding.tokens import TokenColumn, comparable, count_tokens

MAX_INFERRED_CLASSES = 100
"""Integer labels of more classes than this count as real-valued, unless the number of classes is given."""


def encode_categorical(
    table: RawTable, name: str, train: npt.NDArray[np.bool_], min_count: int
) -> tuple[pa.Array, TokenColumn, npt.NDArray[np.int64]]:
    """Return the ids of a column of tokens, its vocabulary, and the training rows of each token."""
    values = table.column(name)
    try:
        found = comparable(values)
    except ValueError as error:
        raise ValueError(f"categorical column {name!r} {error}") from error
    tokens, counts = count_tokens(found.filter(pa.array(train)), min_count)
    column = TokenColumn(values.type, tokens)
    return column.ids(found), column, counts.to_numpy()


def encode_numeric(
    table: RawTable, name: str, train: npt.NDArray[np.bool_], log1p: bool
) -> tuple[pa.Array, NumberColumn, Numeric]:
    """Return a column of numbers as float32 without nulls, its transformation, and its statistics in training."""
    values = _numbers(table, name, "numeric", "list it under categorical, or convert it to numbers")
    raw = to_float64(values)
    with np.errstate(over="ignore"):
        infinite = np.isinf(raw.astype(np.float32))
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"numeric column {name!r} holds {raw[row]} in {table.where(row)}; finite float32 values are allowed, "
            "make it null if it means missing"
        )
    if log1p and (negative := raw < 0).any():
        row = int(np.argmax(negative))
        raise ValueError(
            f"numeric column {name!r} holds {raw[row]} in {table.where(row)}; log1p takes values from 0 up, "
            "take the column out of log1p, or make the value null if it means missing"
        )
    numbers = np.log1p(raw) if log1p else raw
    known = numbers[train & ~np.isnan(numbers)]
    if not len(known):
        raise ValueError(f"numeric column {name!r} has no value in the training split; leave the column out")
    mean, std = float(known.mean()), float(known.std())
    column = NumberColumn(log1p, mean)
    return pa.array(column.numbers(values)[0]), column, numeric_statistics(mean, std)


def encode_label(table: RawTable, name: str, classes: int | None, split: npt.NDArray[np.int8]) -> tuple[pa.Array, int]:
    """Return a label column as float32 with nulls, and its number of classes."""
    values = _numbers(table, name, "label", "code the classes as 0, 1, …")
    known = values.is_valid().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):
        infinite = ~np.isfinite(numbers.astype(np.float32))
    _refuse_label(table, name, numbers, infinite, "finite numbers and null (missing)")
    for i, part in enumerate(SPLITS):
        if not known[split == i].any():
            raise ValueError(
                f"label {name!r} is null in every row of split {part!r}; leave the label out, or split the rows again"
            )
    if classes is None:
        classes = _infer_classes(numbers[known], whole=pa.types.is_integer(table.column(name).type))
    if classes:
        wrong = known & ~((numbers >= 0) & (numbers < classes) & (numbers == np.floor(numbers)))
        _refuse_label(table, name, numbers, wrong, f"the classes 0 … {classes - 1} and null (missing)")
        found = np.unique(numbers[known & (split == 0)])
        if len(found) < 2:
            raise ValueError(
                f"label {name!r} is {found[0]:g} in every training row that has it; a task needs at least two classes "
                "in training, leave the label out or split the rows again"
            )
    return pa.array(numbers.astype(np.float32), mask=~known), classes


def _infer_classes(values: npt.NDArray[np.float64], *, whole: bool) -> int:
    """Infer the number of classes from label values; 0 when they look real-valued."""
    if np.isin(values, (0.0, 1.0)).all():
        return 2
    largest = int(values.max())
    return largest + 1 if whole and values.min() >= 0 and largest < MAX_INFERRED_CLASSES else 0


def _refuse_label(
    table: RawTable, name: str, numbers: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_], allowed: str
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"label {name!r} is {numbers[row]:g} in {table.where(row)} ({int(wrong.sum())} such rows in all); "
            f"allowed are {allowed}. Correct the values, or give the right number of classes under labels"
        )


def encode_packed(table: RawTable, name: str, bits: int) -> pa.Array:
    """Return a column of packed bits as fixed-size binary."""
    values = table.column(name)
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
            f"packed column {name!r} is {found} in {table.where(row)}; {bits} bits are {bits // 8} bytes in every row"
        )
    return values.cast(pa.binary(bits // 8))


def _numbers(table: RawTable, name: str, role: str, remedy: str) -> pa.Array:
    """Return a column as float64 with its nulls."""
    values = table.column(name)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(kind(values.type) for kind in kinds):
        raise ValueError(f"{role} column {name!r} holds {values.type}; numbers are needed, {remedy}")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    try:
        return values.cast(pa.float64())
    except pa.ArrowInvalid as error:  # whole numbers beyond 2^53
        raise ValueError(
            f"{role} column {name!r} holds {values.type} that no floating-point number can hold ({error}); {remedy}"
        ) from error
