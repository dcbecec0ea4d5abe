"""Statistics of the training rows, and what must be true of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experiments.data.official.job import Job
from experiments.data.official.recipe import Recipe
from experiments.data.prepared import vocabulary
from trainers.data.schema import SPLITS, Numeric


@dataclass(frozen=True)
class Counted:
    """Statistics of a block.

    Attributes:
        rows: Rows of each split.
        numeric: Number, mean and sum of squared deviations of each numeric feature's training values.
        labels: Smallest and largest value of each label in each split; ``None`` where there is no row.
    """

    rows: tuple[int, ...]
    numeric: tuple[tuple[int, float, float], ...]
    labels: tuple[tuple[tuple[float, float] | None, ...], ...]


def count_block(job: Job) -> Counted:
    """Count tokens, numbers and labels."""
    recipe = job.recipe
    table = job.get()
    split = job.split(table.num_rows)
    train = split == 0
    vocabulary.count([table[name].combine_chunks() for name in recipe.categorical], train, job.parts, job.counts)
    numeric = []
    for name in recipe.numeric:
        values = numbers_of_feature(table, name, recipe)[train]
        values = values[~np.isnan(values)]
        mean = float(values.mean()) if len(values) else 0.0
        numeric.append((len(values), mean, float(np.square(values - mean).sum())))
    labels = []
    for name in recipe.labels:
        values = table[name].to_numpy()
        parts = [values[split == place] for place in range(len(SPLITS))]
        labels.append(tuple((float(part.min()), float(part.max())) if len(part) else None for part in parts))
    rows = tuple(np.bincount(split, minlength=len(SPLITS)).tolist())
    return Counted(rows, tuple(numeric), tuple(labels))


def check_labels(recipe: Recipe, counted: Sequence[Counted]) -> None:
    """Refuse data that nobody can train on.

    Raises:
        ValueError: A split is empty, or a label is the same in every training row.
    """
    rows = dict(zip(SPLITS, np.sum([found.rows for found in counted], axis=0).tolist(), strict=True))
    if empty := [split for split in SPLITS if not rows[split]]:
        raise ValueError(f"split {empty[0]!r} is empty: found {rows} rows, and every split needs some")
    for place, name in enumerate(recipe.labels):
        ranges = [found.labels[place][0] for found in counted]
        low = min(found[0] for found in ranges if found is not None)
        if low == max(found[1] for found in ranges if found is not None):
            raise ValueError(
                f"label {name!r} is {low:g} in every training row; a task needs two classes in training. "
                "Check that this is the whole official file"
            )


def merged_statistics(name: str, found: Sequence[tuple[int, float, float]]) -> Numeric:
    """Mean and standard deviation from those of blocks, after Chan, Golub and LeVeque (1979).

    Two parts of n and m values, with means that differ by d, have squared deviations of S + T + d² n m / (n + m).

    Args:
        name: The column.
        found: Number, mean and sum of squared deviations of each block.

    Raises:
        ValueError: There is no value.
    """
    n, mean, squares = 0, 0.0, 0.0
    for m, other, more in found:
        if m:
            step = other - mean
            squares += more + step * step * n * m / (n + m)
            mean += step * m / (n + m)
            n += m
    if not n:
        raise ValueError(f"numeric column {name!r} has no value in the training rows; check the official file")
    std = float(np.sqrt(squares / n))
    return Numeric(mean, 1.0 if std <= 1e-7 * max(1.0, abs(mean)) else std)


def numbers_of_feature(table: pa.Table, name: str, recipe: Recipe) -> npt.NDArray[np.float64]:
    """Values of a numeric feature, after ``log(1 + x)`` where the recipe asks for it.

    Raises:
        ValueError: A value to take the logarithm of is negative.
    """
    values = np.asarray(table[name].to_numpy(), dtype=np.float64)
    if name not in recipe.log1p:
        return values
    if (values < 0).any():
        raise ValueError(f"numeric column {name!r} holds {np.nanmin(values)}; log1p takes values from 0 up")
    return np.asarray(np.log1p(values))
