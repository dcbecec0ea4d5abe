"""Conflict between tasks, measured on the data before training.

Two numbers for each pair of labels, exact, over the training rows:

* φ, the correlation of the labels over the rows that have both: −1 when one always excludes the other.
* The cosine of the gradients of the two losses, in a linear model over all features (a weight for each token, numeric
  column and bit), at the constant prediction, where training begins. With residuals ``r_t = y_t − ȳ_t`` over the
  n_t rows that have the label, the gradient of task t is ``g_t = −Xᵀ r_t / n_t`` and the cosine is
  ``⟨g_t, g_u⟩ / (‖g_t‖ ‖g_u‖)``. Below zero, a gradient step of one task raises the loss of the other. ``g_t`` is the
  gradient of cross-entropy and, up to a factor, of squared error. Rare tokens contribute the correlation of the
  labels themselves.

Both are defined for binary and real-valued labels only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nmt.trainers.data.schema import Schema
from nmt.trainers.store.file_system import locate, parquet_files

GRADIENT_BYTES = 256 << 20
"""Memory for gradients; columns that do not fit take another pass over the labels."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Conflict:
    """A pair of tasks.

    Attributes:
        tasks: The two labels.
        correlation: φ of the labels; NaN where undefined.
        cosine: Cosine of the gradients; NaN where undefined.
        both: Number of training rows that have both labels.
    """

    tasks: tuple[str, str]
    correlation: float
    cosine: float
    both: int


def conflicts(folder: str, schema: Schema) -> list[Conflict]:
    """Return the pairs of tasks of a prepared data set, lowest cosine first."""
    labels = [name for name, classes in schema.labels.items() if classes in (0, 2)]
    if len(labels) < 2:
        return []
    means, both, correlation = _correlations(folder, labels)
    inner = np.zeros((len(labels), len(labels)))
    for columns in _groups(schema, len(labels)):
        gradients = {name: np.zeros((len(labels), _width(schema, name))) for name in columns}
        for batch in batches(folder, "train", [*labels, *columns]):
            residual = np.nan_to_num(_values(batch, labels) - means[:, None])
            for name, gradient in gradients.items():
                _add(gradient, batch.column(name), residual, schema, name)
        for gradient in gradients.values():
            inner += gradient @ gradient.T
    length = np.sqrt(np.diag(inner))
    found = [
        Conflict(
            (labels[one], labels[other]),
            float(correlation[one, other]),
            _ratio(float(inner[one, other]), float(length[one] * length[other])),
            int(both[one, other]),
        )
        for one, other in combinations(range(len(labels)), 2)
    ]
    return sorted(found, key=lambda pair: (math.isnan(pair.cosine), pair.cosine, pair.correlation))


def batches(folder: str, split: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a split in batches, with these columns only."""
    filesystem, root = locate(folder)
    for path in parquet_files(filesystem, f"{root}/{split}"):
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            yield from file.iter_batches(columns=list(columns))


def _correlations(folder: str, labels: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Return the means of labels, the number of rows that have both labels of a pair, and φ over these rows.

    Sums are of values minus the first labelled one, so that no digits are lost far from zero.
    """
    size = len(labels)
    shift = np.full(size, np.nan)
    both, of_one, of_square, product = (np.zeros((size, size)) for _ in range(4))
    for batch in batches(folder, "train", labels):
        values = _values(batch, labels)
        for place in np.flatnonzero(np.isnan(shift)):
            known = values[place][~np.isnan(values[place])]
            shift[place] = known[0] if len(known) else np.nan
        there = (~np.isnan(values)).astype(np.float64)
        values = np.nan_to_num(values - shift[:, None])
        both += there @ there.T
        of_one += values @ there.T
        of_square += np.square(values) @ there.T
        product += values @ values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = product / both - (of_one / both) * (of_one.T / both)
        variance = of_square / both - np.square(of_one / both)
        correlation = covariance / np.sqrt(variance * variance.T)
        means = shift + np.diag(of_one) / np.diag(both)
    return means, both, np.where(variance * variance.T > 0, correlation, np.nan)


def _values(batch: pa.RecordBatch, columns: Sequence[str]) -> Floats:
    """Return an array of shape (columns, rows); a missing value is NaN."""
    return np.stack([batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in columns])


def _add(gradient: Floats, column: pa.Array, residual: Floats, schema: Schema, name: str) -> None:
    """Add the contribution of a batch to −n·g of one column."""
    if name in schema.categorical:
        ids = column.to_numpy()
        for task, values in enumerate(residual):
            gradient[task] += np.bincount(ids, weights=values, minlength=gradient.shape[1])
    elif name in schema.numeric:
        statistics = schema.numeric[name]
        gradient[:, 0] += residual @ ((column.to_numpy().astype(np.float64) - statistics.mean) / statistics.std)
    else:
        bytes_ = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(len(column), -1)
        gradient += residual @ np.unpackbits(bytes_, axis=1)[:, : gradient.shape[1]].astype(np.float64)


def _width(schema: Schema, name: str) -> int:
    return schema.categorical.get(name) or schema.packed.get(name) or 1


def _groups(schema: Schema, tasks: int) -> Iterator[list[str]]:
    """Yield groups of columns whose gradients fit into memory together; a column that does not fit is alone."""
    group: list[str] = []
    used = 0
    for name in schema.features:
        size = 8 * tasks * _width(schema, name)
        if group and used + size > GRADIENT_BYTES:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    if group:
        yield group


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else math.nan
