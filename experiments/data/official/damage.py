"""Rows whose values cannot be used; they are taken out as damaged lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.data.official.lines import FEW, Lines, numbers_of


def drop_no_numbers(lines: Lines, names: Sequence[str], optional: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Take out rows without a number that is needed.

    Args:
        lines: The rows; those that stay are left there.
        names: Columns of numbers.
        optional: Those in which a field may be empty.

    Returns:
        Column → numbers of the rows that stay; NaN for an empty field.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    why: dict[int, str] = {}
    for name in names:
        found[name], bad = numbers_of(lines.table[name])
        if name not in optional:
            bad |= np.isnan(found[name])
        for row in np.flatnonzero(bad & ~wrong)[:FEW].tolist():
            token = lines.table[name][row].as_py()
            why[row] = f"{name} is {'empty' if token is None else repr(token)}, a number is needed"
        wrong |= bad
    if wrong.any():
        _drop(lines, wrong, why)
        return {name: values[~wrong] for name, values in found.items()}
    return found


def drop_wrong_labels(lines: Lines, labels: Mapping[str, int]) -> None:
    """Take out rows with a label that is none of its classes.

    Args:
        lines: The rows; those that stay are left there.
        labels: Label column → number of classes.
    """
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    why: dict[int, str] = {}
    for name, classes in labels.items():
        values = lines.table[name].to_numpy()
        bad = ~((values >= 0) & (values < classes) & (values == np.floor(values)))
        for row in np.flatnonzero(bad & ~wrong)[:FEW].tolist():
            why[row] = f"label {name} is {values[row]:g}, allowed are 0 to {classes - 1}"
        wrong |= bad
    if wrong.any():
        _drop(lines, wrong, why)


def _drop(lines: Lines, wrong: npt.NDArray[np.bool_], why: Mapping[int, str]) -> None:
    lines.drop(wrong, [why.get(row, "") for row in np.flatnonzero(wrong)[:FEW].tolist()])
