"""Checks of rows: those whose values cannot be used are dropped, and count as damaged lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nmt.experiments.data.official.text.lines import MAX_DAMAGES, Lines, parse_numbers


def drop_rows_without_numbers(
    lines: Lines, names: Sequence[str], optional: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Drop rows that lack a number, and return the numbers of the others.

    Args:
        lines: The rows, of which some are dropped.
        names: Columns of numbers.
        optional: Columns in which a field may be empty.

    Returns:
        Column → numbers of the remaining rows; NaN for an empty field.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    reasons: dict[int, str] = {}
    for name in names:
        found[name], bad = parse_numbers(lines.table[name])
        if name not in optional:
            bad |= np.isnan(found[name])
        for row in np.flatnonzero(bad & ~wrong)[:MAX_DAMAGES].tolist():
            token = lines.table[name][row].as_py()
            reasons[row] = f"{name} is {'empty' if token is None else repr(token)}, a number is needed"
        wrong |= bad
    if wrong.any():
        _drop(lines, wrong, reasons)
        return {name: values[~wrong] for name, values in found.items()}
    return found


def drop_rows_with_wrong_labels(lines: Lines, labels: Mapping[str, int]) -> None:
    """Drop rows with a label outside its classes.

    Args:
        lines: The rows, of which some are dropped.
        labels: Label column → number of classes.
    """
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    reasons: dict[int, str] = {}
    for name, classes in labels.items():
        values = lines.table[name].to_numpy()
        bad = ~((values >= 0) & (values < classes) & (values == np.floor(values)))
        for row in np.flatnonzero(bad & ~wrong)[:MAX_DAMAGES].tolist():
            reasons[row] = f"label {name} is {values[row]:g}, allowed are 0 to {classes - 1}"
        wrong |= bad
    if wrong.any():
        _drop(lines, wrong, reasons)


def _drop(lines: Lines, wrong: npt.NDArray[np.bool_], reasons: Mapping[int, str]) -> None:
    lines.drop(wrong, [reasons.get(row, "") for row in np.flatnonzero(wrong)[:MAX_DAMAGES].tolist()])
