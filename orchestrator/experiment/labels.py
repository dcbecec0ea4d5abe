"""Labels of a prepared data set, and what each loss requires of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from nmt.orchestrator.errors import RequestError
from nmt.trainers.store.file_system import locate, parquet_files


@dataclass(frozen=True)
class Labels:
    """A label column of one split, from the statistics of its Parquet files.

    Attributes:
        folder: The prepared folder, a path or URI.
        split: The split.
        column: The label column.
        classes: Number of classes in the schema; 0 for a real-valued label.
        count: Labelled rows.
        low: Lowest label; NaN when there is none, or the files have no statistics.
        high: Highest label.
    """

    folder: str
    split: str
    column: str
    classes: int
    count: int
    low: float
    high: float

    @property
    def range(self) -> str:
        """Lowest and highest label in words."""
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g} in every row"

    def first_fraction(self) -> float | None:
        """Return the first label that is not a whole number, if any. This alone reads rows."""
        filesystem, root = locate(self.folder)
        for path in parquet_files(filesystem, f"{root}/{self.split}"):
            for batch in pq.ParquetFile(path, filesystem=filesystem).iter_batches(columns=[self.column]):
                values = batch.column(0).drop_null().to_numpy()
                if len(fractions := values[values % 1 > 0]):
                    return float(fractions[0])
        return None


def read_labels(folder: str, split: str, column: str, classes: int) -> Labels:
    """Read the statistics of a label column in one split; no row is read.

    Raises:
        RequestError: A file is damaged.
    """
    count = 0
    lows: list[float] = []
    highs: list[float] = []
    filesystem, root = locate(folder)
    for path in parquet_files(filesystem, f"{root}/{split}"):
        try:
            metadata = pq.ParquetFile(path, filesystem=filesystem).metadata
        except (OSError, ValueError) as error:
            raise RequestError(
                f"data: {path} is not a whole Parquet file ({error}); prepare the data set again"
            ) from error
        place = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).name == column)
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(place).statistics
            if statistics is None:  # written by another program; the trainers check these labels
                return Labels(folder, split, column, classes, 1, math.nan, math.nan)
            count += metadata.row_group(group).num_rows - statistics.null_count
            if statistics.has_min_max:
                lows.append(statistics.min + 0.0)  # Parquet stores a minimum of 0 as -0
                highs.append(statistics.max)
    return Labels(folder, split, column, classes, count, min(lows, default=math.nan), max(highs, default=math.nan))


def _two_classes(labels: Labels) -> str | None:
    learnable = labels.low < labels.high or labels.split == "test"
    return None if learnable else "needs two different labels or more: there is nothing to learn from one"


def _probabilities(labels: Labels) -> str | None:
    return None if 0 <= labels.low <= labels.high <= 1 else "needs labels in [0, 1]"


def _class_numbers(labels: Labels) -> str | None:
    if labels.classes < 2:
        return "needs classes, and the label is declared real-valued; declare its number of classes in the data"
    need = f"needs whole numbers from 0 to {labels.classes - 1}"
    if not 0 <= labels.low <= labels.high < labels.classes:
        return need
    fraction = labels.first_fraction()
    return None if fraction is None else f"{need}, found {fraction:g}"


def _finite_labels(labels: Labels) -> str | None:
    return None if math.isfinite(labels.low) and math.isfinite(labels.high) else "needs finite labels"


CHECKS: Mapping[str, Sequence[Callable[[Labels], str | None]]] = {
    "binary_cross_entropy": (_two_classes, _probabilities),
    "cross_entropy": (_two_classes, _class_numbers),
    "pairwise_logistic": (_two_classes,),
    "squared_error": (_finite_labels,),
}
"""Loss → checks of its labels, in order. A check returns the unmet requirement, or ``None``."""

LISTWISE = ("pairwise_logistic", "pair_accuracy", "grouped_auc")
"""Losses and metrics that compare rows of one list."""


def unmet_requirement(loss: str, labels: Labels) -> str | None:
    """Return the first requirement of a loss that the labels do not meet; ``None`` for a user's own loss."""
    if math.isnan(labels.low):
        return None
    return next((need for check in CHECKS.get(loss, ()) if (need := check(labels))), None)
