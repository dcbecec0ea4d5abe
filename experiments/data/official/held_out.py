"""Rows held out at random, exactly as scikit-learn's ``train_test_split`` holds them out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TRAIN, VALID, TEST = 0, 1, 2
"""Places in :data:`trainers.data.schema.SPLITS`."""

_CHUNK = 1 << 20
"""Places at a time, a multiple of 8."""


@dataclass(frozen=True)
class HeldOut:
    """Which rows are held out.

    With ``train_test_split(rows, test_size=test, random_state=seed)`` for the test rows, and then, over what it left
    *in the order in which it left it*, ``train_test_split(rest, test_size=valid, random_state=seed)``. Both take the
    first ``ceil(share · n)`` entries of ``RandomState(seed).permutation(n)``. That permutation is what
    ``RandomState(seed).shuffle`` makes of 0 … n - 1, whatever type holds these numbers: 32 bits serve up to 2³² rows,
    where scikit-learn takes 64, twice.

    Attributes:
        test: Share of the test rows; 0 when they are set apart already.
        valid: Share of the validation rows, of the rows that are no test rows.
        seed: Seed of both.
    """

    test: float = 0.1
    valid: float = 0.1
    seed: int = 42

    def __post_init__(self) -> None:
        if not (0 <= self.test < 1 and 0 < self.valid < 1):
            raise ValueError(f"held-out shares are {self.test} (test) and {self.valid} (valid); give shares below 1")

    def split(self, rows: int) -> npt.NDArray[np.uint8]:
        """Place in ``SPLITS`` of each row.

        Memory: 4 bytes a row for a permutation, and one for the result; 1.4 GB for the 276 million rows of TikTok.
        """
        tests = math.ceil(self.test * rows)
        rest = rows - tests
        inner = np.full(rest, TRAIN, np.uint8)
        places = self._permutation(rest)
        for start in range(0, math.ceil(self.valid * rest), _CHUNK):
            inner[places[start : min(start + _CHUNK, math.ceil(self.valid * rest))]] = VALID
        del places
        if not tests:
            return inner
        packed = np.packbits(inner == VALID)
        del inner
        split = np.full(rows, TEST, np.uint8)
        places = self._permutation(rows)[tests:]
        # numpy makes 64-bit integers of all places that it is given at once.
        for start in range(0, rest, _CHUNK):
            bits = np.unpackbits(packed[start // 8 : (start + _CHUNK) // 8])
            mine = places[start : start + _CHUNK]
            split[mine] = np.where(bits[: len(mine)], VALID, TRAIN)
        return split

    def _permutation(self, rows: int) -> npt.NDArray[Any]:
        places: npt.NDArray[Any] = np.arange(rows, dtype=np.uint32 if rows <= 2**32 else np.uint64)
        np.random.RandomState(self.seed).shuffle(places)
        return places
