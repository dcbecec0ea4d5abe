"""Random splits of rows, the same as those of scikit-learn's ``train_test_split``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TRAIN, VALID, TEST = 0, 1, 2
"""Indices in :data:`nmt.trainers.data.schema.SPLITS`."""

_CHUNK = 1 << 20
"""Entries of a permutation that are processed at a time; a multiple of 8."""


@dataclass(frozen=True)
class HeldOut:
    """A random split into training, validation and test rows.

    The test rows are those of ``train_test_split(rows, test_size=test, random_state=seed)``. The validation rows are
    those of ``train_test_split(rest, test_size=valid, random_state=seed)``, where ``rest`` is the shuffled remainder of
    the first call. Each call takes the first ``ceil(share · n)`` entries of ``RandomState(seed).permutation(n)``, which
    equals ``RandomState(seed).shuffle`` of 0 … n - 1 for any integer type. 32 bits suffice for 2³² rows; scikit-learn
    takes 64, twice.

    Attributes:
        test: Share of test rows; 0 if they are separate already.
        valid: Share of validation rows among the rows that are not test rows.
        seed: Seed of both permutations.
    """

    test: float = 0.1
    valid: float = 0.1
    seed: int = 42

    def __post_init__(self) -> None:
        if not (0 <= self.test < 1 and 0 < self.valid < 1):
            raise ValueError(
                f"held-out shares are {self.test} (test) and {self.valid} (valid); give shares below 1, valid above 0"
            )

    def split(self, rows: int) -> npt.NDArray[np.uint8]:
        """Return the index in ``SPLITS`` of each row.

        It takes 5 bytes of memory a row: 4 for a permutation, 1 for the result. TikTok's 276 million rows take 1.4 GB.
        """
        tests = math.ceil(self.test * rows)
        rest = rows - tests
        inner = np.full(rest, TRAIN, np.uint8)
        order = self._permutation(rest)
        valids = math.ceil(self.valid * rest)
        for start in range(0, valids, _CHUNK):
            inner[order[start : min(start + _CHUNK, valids)]] = VALID
        del order
        if not tests:
            return inner
        packed = np.packbits(inner == VALID)
        del inner
        split = np.full(rows, TEST, np.uint8)
        order = self._permutation(rows)[tests:]
        # In chunks, because numpy converts the indices that it is given to 64 bits.
        for start in range(0, rest, _CHUNK):
            bits = np.unpackbits(packed[start // 8 : (start + _CHUNK) // 8])
            part = order[start : start + _CHUNK]
            split[part] = np.where(bits[: len(part)], VALID, TRAIN)
        return split

    def _permutation(self, rows: int) -> npt.NDArray[Any]:
        order: npt.NDArray[Any] = np.arange(rows, dtype=np.uint32 if rows <= 2**32 else np.uint64)
        np.random.RandomState(self.seed).shuffle(order)
        return order
