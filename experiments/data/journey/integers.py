"""Arrays of integers: sorted ones that are searched, and ranges of numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def places(values: Integers, wanted: Integers, sorter: Integers | None = None) -> Integers:
    """Where ``wanted`` belongs in sorted ``values``: the number of values below it."""
    return np.asarray(np.searchsorted(values, wanted, sorter=sorter)).astype(np.int64, copy=False)


def distinct(values: Integers) -> Integers:
    """The distinct values, sorted; by sorting, since ``numpy.unique`` hashes, which is ten times slower on millions."""
    values = np.sort(values)
    return np.asarray(values[np.append(True, values[1:] != values[:-1])])


def members(values: Integers, wanted: Integers) -> npt.NDArray[np.bool_]:
    """Whether ``wanted`` is among sorted ``values``."""
    at = np.minimum(places(values, wanted), len(values) - 1)
    return np.asarray(values[at] == wanted)


def ranges(start: Integers, size: Integers) -> Integers:
    """The integers ``start[i] … start[i] + size[i] - 1`` for every i, one after the other."""
    offset = np.cumsum(size) - size
    return np.asarray(np.arange(size.sum()) - np.repeat(offset - start, size))
