"""What the tests of this room assert in more than one place."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from nmt.trainers.data.batch import Batch
from nmt.trainers.records import StageRecord
from tests.trainers._problems import Prepared

T = TypeVar("T")


def assert_convex(weights: Tensor) -> None:
    """Weights of a convex combination."""
    assert bool((weights >= 0).all()), weights
    assert abs(float(weights.sum()) - 1) < 1e-12, weights


def assert_close(actual: Tensor, expected: object, tolerance: float) -> None:
    """Equal within an absolute tolerance; NaN is equal to nothing."""
    reference = torch.as_tensor(expected, dtype=torch.float64).detach()
    assert actual.shape == reference.shape, (actual, reference)
    difference = (actual.detach().double() - reference).abs().max() if reference.numel() else torch.zeros(())
    assert float(difference) <= tolerance, f"{actual} is not {reference}: off by {float(difference)}"


def assert_identical(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """The same names with bit-identical tensors."""
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype
        assert torch.equal(value, other[name]), f"{name} differs"


def assert_same_result(one: StageRecord, other: StageRecord) -> None:
    """Records equal to the last bit, but for the time that they took."""
    first, second = (dataclasses.replace(record, wall_seconds=0.0, seconds={}) for record in (one, other))
    assert first.to_json() == second.to_json()


def assert_kept(reference: NDArray[np.float64], candidate: NDArray[np.float64], tolerance: float, s: float) -> None:
    """The guarantee on row data: the mean paired difference is at most ε + s · SE.

    Args:
        reference: Loss of each labelled row at the protected task's θ*.
        candidate: The same at the returned parameters.
        tolerance: ε.
        s: Standard errors that the rule allows.
    """
    difference = candidate - reference
    error = difference.std(ddof=1) / len(difference) ** 0.5
    assert np.isfinite(difference).all()
    rounding = 1e-6  # the engine computes row losses in single precision
    assert difference.mean() <= tolerance + s * error + rounding, (difference.mean(), error)


def assert_content(batch: Batch, data: Prepared, split: str) -> None:
    """Every row of a batch with labels ``amount`` and ``bought`` is the row that was written, in its list's order."""
    columns, example = data.columns[split], data.example[split]
    rows = np.concatenate([np.flatnonzero(example == e) for e in batch.index.tolist()] or [np.empty(0, dtype=np.int64)])
    assert batch.rows == len(rows)
    assert batch.categorical.dtype in (torch.int64, torch.int32)
    assert _same(batch.categorical, np.stack([columns["colour"], columns["shop"]], 1)[rows])
    assert _same(batch.numeric, np.stack([columns["price"], columns["age"]], 1)[rows])
    assert _same(batch.labels, np.stack([columns["amount"], columns["bought"]], 1)[rows])
    bits = np.unpackbits(batch.packed.numpy(), axis=1)
    assert np.array_equal(bits, np.concatenate([columns["words"], columns["flags"]], 1)[rows])
    if data.schema.query is None:
        assert batch.query is None
        assert batch.position is None
        assert batch.longest == 1
        assert batch.examples == batch.rows
    else:
        assert batch.query is not None
        assert batch.position is not None
        lengths = [int((example == e).sum()) for e in batch.index.tolist()]
        assert batch.query.tolist() == [e for e, length in enumerate(lengths) for _ in range(length)]
        assert batch.position.tolist() == [place for length in lengths for place in range(length)]
        assert batch.longest >= max(lengths, default=1)


def _same(tensor: Tensor, expected: NDArray[np.generic]) -> bool:
    return np.array_equal(tensor.numpy(), expected, equal_nan=expected.dtype.kind == "f")


@contextmanager
def no_host_synchronisation(*values: T) -> Iterator[tuple[T, ...]]:
    """Copies of ``values`` without data, as on a device that nobody may wait for: reading a number raises."""
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        copies = copy.deepcopy(values)
    with mode:
        yield copies
