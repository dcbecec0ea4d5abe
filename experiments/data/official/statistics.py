"""Statistics of the training rows, and the check of splits and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.experiments.data.common.standardisation import numeric_statistics
from nmt.experiments.data.official import vocabulary
from nmt.experiments.data.official.block_job import BlockJob
from nmt.experiments.data.official.recipe import Recipe
from nmt.trainers.data.schema import SPLITS, Numeric


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of a block.

    Attributes:
        rows: Rows of each split.
        numeric: Count, mean and sum of squared deviations of each numeric feature over the training rows.
        labels: Smallest and largest value of each label in each split; ``None`` for a split without rows.
    """

    rows: tuple[int, ...]
    numeric: tuple[tuple[int, float, float], ...]
    labels: tuple[tuple[tuple[float, float] | None, ...], ...]


def count_block(job: BlockJob) -> BlockStatistics:
    """Count the tokens, numbers and labels of a block; token counts go to its file of counts."""
    recipe = job.recipe
    table = job.read_rows()
    split = job.split(table.num_rows)
    train = split == 0
    tokens = [table[name].combine_chunks() for name in recipe.categorical]
    vocabulary.count_tokens(tokens, train, job.parts, job.counts_path)
    numeric = []
    for name in recipe.numeric:
        values = feature_values(table, name, recipe)[train]
        values = values[~np.isnan(values)]
        mean = float(values.mean()) if len(values) else 0.0
        numeric.append((len(values), mean, float(np.square(values - mean).sum())))
    labels = []
    for name in recipe.labels:
        values = table[name].to_numpy()
        parts = [values[split == index] for index in range(len(SPLITS))]
        labels.append(tuple((float(part.min()), float(part.max())) if len(part) else None for part in parts))
    rows = tuple(np.bincount(split, minlength=len(SPLITS)).tolist())
    return BlockStatistics(rows, tuple(numeric), tuple(labels))


def check_labels(recipe: Recipe, counted: Sequence[BlockStatistics]) -> None:
    """Check that each split has rows, and each label more than one value.

    Raises:
        ValueError: A split is empty, or a label is the same in every training row.
    """
    rows = dict(zip(SPLITS, np.sum([found.rows for found in counted], axis=0).tolist(), strict=True))
    if empty := [split for split in SPLITS if not rows[split]]:
        raise ValueError(f"split {empty[0]!r} is empty: found {rows} rows, and every split needs some")
    for index, name in enumerate(recipe.labels):
        ranges = [found.labels[index][0] for found in counted]
        low = min(found[0] for found in ranges if found is not None)
        if low == max(found[1] for found in ranges if found is not None):
            raise ValueError(
                f"label {name!r} is {low:g} in every training row; a task needs two classes in training. "
                "Check that this is the whole official file"
            )


def merge_statistics(name: str, found: Sequence[tuple[int, float, float]]) -> Numeric:
    """Merge mean and standard deviation of blocks, after Chan, Golub and LeVeque (1979).

    Two parts of n and m values whose means differ by d, with sums of squared deviations S and T, together have the sum
    S + T + d² n m / (n + m).

    Args:
        name: The column.
        found: Count, mean and sum of squared deviations of each block.

    Raises:
        ValueError: The column has no value.
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
    return numeric_statistics(mean, float(np.sqrt(squares / n)))


def feature_values(table: pa.Table, name: str, recipe: Recipe) -> npt.NDArray[np.float64]:
    """Return the values of a numeric feature, transformed by ``log(1 + x)`` if the recipe says so.

    Raises:
        ValueError: ``log(1 + x)`` would be taken of a negative value.
    """
    values = np.asarray(table[name].to_numpy(), dtype=np.float64)
    if name not in recipe.log1p:
        return values
    if (values < 0).any():
        raise ValueError(f"numeric column {name!r} holds {np.nanmin(values)}; log1p takes values from 0 up")
    return np.asarray(np.log1p(values))
