"""Numeric columns: raw numbers as a model reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class NumberColumn:
    """A numeric column: ``float32`` after ``log(1 + x)`` where this is wanted, missing values as the training mean.

    Attributes:
        log1p: Whether ``log(1 + x)`` is taken.
        fill: What a missing value becomes, after the logarithm.
    """

    log1p: bool = False
    fill: float = 0.0

    def numbers(self, values: pa.Array | pa.ChunkedArray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the numbers, and a mask of rows whose value cannot be used; these get ``fill``.

        Unusable are values beyond float32, and with ``log1p`` negative ones.

        Raises:
            ValueError: The type has no numbers.
        """
        raw = to_float64(values)
        with np.errstate(over="ignore"):
            wrong = np.isinf(raw.astype(np.float32))
        if self.log1p:
            wrong |= raw < 0
            raw = np.log1p(np.where(wrong, 0.0, raw))
        raw[wrong | np.isnan(raw)] = self.fill
        return raw.astype(np.float32), wrong


def to_float64(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return a column of numbers as a new array, NaN where missing.

    Raises:
        ValueError: The type has no numbers.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(kind(values.type) for kind in kinds):
        raise ValueError(f"holds {values.type}; numbers are needed")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
