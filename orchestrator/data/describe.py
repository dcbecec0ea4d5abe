"""``nmt data describe``: the content of a prepared folder, and problems that would stop training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nmt.orchestrator.data.conflict import Conflict, batches, conflicts
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.summary.wording import NOTHING
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.data.split import Split
from nmt.trainers.records import null_non_finite
from nmt.trainers.store.file_system import is_file, locate, parquet_files

SHOWN_PAIRS = 10
"""Most pairs of tasks printed, those with the strongest conflict; ``--json`` has all."""


@dataclass(frozen=True)
class Rates:
    """Statistics of a label in one split.

    Attributes:
        labelled: Number of rows with the label.
        missing: Number of rows without it.
        mean: Mean; the positive rate of a binary label. NaN without a labelled row, like ``low`` and ``high``.
        low: Lowest value.
        high: Highest value.
        classes: Number of rows of each class; empty for a real-valued label.
    """

    labelled: int
    missing: int
    mean: float
    low: float
    high: float
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """The content of a prepared folder.

    Attributes:
        folder: Path or URI of the folder.
        schema: Its columns.
        labels: Label → split → statistics.
        conflicts: Pairs of tasks, strongest conflict first.
        report: Report of the preparation; ``None`` for a source that writes none.
        problems: Problems that would stop training.
    """

    folder: str
    schema: Schema
    labels: Mapping[str, Mapping[str, Rates]]
    conflicts: tuple[Conflict, ...]
    report: Mapping[str, Any] | None
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the document of ``--json``; a number that is not finite is ``None``."""
        document = {
            "folder": self.folder,
            "source": self.schema.source,
            "fingerprint": self.schema.fingerprint,
            "rows": dict(self.schema.rows),
            "examples": dict(self.schema.examples),
            "categorical": dict(self.schema.categorical),
            "numeric": {name: asdict(value) for name, value in self.schema.numeric.items()},
            "packed": dict(self.schema.packed),
            "query": self.schema.query,
            "labels": {name: {split: asdict(rates) for split, rates in of.items()} for name, of in self.labels.items()},
            "conflicts": [asdict(pair) for pair in self.conflicts],
            "report": self.report,
            "problems": list(self.problems),
        }
        finite: dict[str, Any] = null_non_finite(document)
        return finite


def describe(folder: str) -> Description:
    """Describe a prepared folder.

    Raises:
        RequestError: ``folder`` is not a prepared data set.
    """
    try:
        schema = read_schema(folder)
    except (ValueError, OSError) as error:
        raise RequestError(f"data: {error}") from error
    problems = _split_problems(folder, schema)
    labels: dict[str, dict[str, Rates]] = {}
    pairs: list[Conflict] = []
    if not problems:
        problems = _feature_problems(folder, schema)
        labels = {name: {split: _rates(folder, split, name, schema) for split in SPLITS} for name in schema.labels}
        problems += [text for name, of in labels.items() for text in _label_problems(name, of, schema)]
        if not problems:
            pairs = conflicts(folder, schema)
    return Description(folder, schema, labels, tuple(pairs), _report(folder), tuple(problems))


def print_description(found: Description, out: Console) -> None:
    """Print a description."""
    schema = found.schema
    out.print(f"[bold]{escape(schema.source or found.folder)}[/], {schema.fingerprint}", highlight=False)
    rows = Table("split", *[f"rate of {name}" for name in list(found.labels)[:SHOWN_PAIRS]], title="rows and labels")
    rows.add_column("rows", justify="right")
    for split in SPLITS:
        cells = [_rate(of[split]) for of in list(found.labels.values())[:SHOWN_PAIRS]]
        rows.add_row(split, *cells, f"{schema.rows.get(split, 0):,}")
    out.print(rows)
    if len(found.labels) > SHOWN_PAIRS:
        out.print(f"and {len(found.labels) - SHOWN_PAIRS} more labels; --json has them")
    columns = Table("column", "kind", "size", title="features")
    for name, size in schema.categorical.items():
        columns.add_row(escape(name), "tokens", f"{size:,}")
    for name, value in schema.numeric.items():
        columns.add_row(escape(name), "number", f"{value.mean:.4g} ± {value.std:.4g}")
    for name, bits in schema.packed.items():
        columns.add_row(escape(name), "bits", f"{bits:,}")
    out.print(columns)
    if found.conflicts:
        pairs = Table(
            "tasks", "correlation", "cosine of gradients", title="conflict; tasks oppose each other below zero"
        )
        for pair in found.conflicts[:SHOWN_PAIRS]:
            pairs.add_row(escape(" and ".join(pair.tasks)), _number(pair.correlation), _number(pair.cosine))
        out.print(pairs)
        if len(found.conflicts) > SHOWN_PAIRS:
            out.print(f"and {len(found.conflicts) - SHOWN_PAIRS} more pairs with weaker conflict; --json has them")
    if found.report is not None:
        out.print(f"{found.report['damaged']:,} of {found.report['lines']:,} lines were damaged")


def _split_problems(folder: str, schema: Schema) -> list[str]:
    """Return problems of splits that cannot be read or do not agree with the schema."""
    problems = []
    for split in SPLITS:
        if not schema.examples.get(split):
            problems.append(f"split {split!r} is empty; every split needs rows")
            continue
        try:
            Split(folder, split, schema, list(schema.labels))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return problems


def _feature_problems(folder: str, schema: Schema) -> list[str]:
    """Return problems of feature values, as far as the statistics of the Parquet files show them."""
    problems = []
    filesystem, root = locate(folder)
    for split in SPLITS:
        bounds: dict[str, tuple[float, float]] = {}
        nulls = dict.fromkeys(schema.features, 0)
        for path in parquet_files(filesystem, f"{root}/{split}"):
            metadata = pq.ParquetFile(path, filesystem=filesystem).metadata
            names = [metadata.schema.column(place).name for place in range(metadata.num_columns)]
            for name in schema.features:
                for group in range(metadata.num_row_groups):
                    found = metadata.row_group(group).column(names.index(name)).statistics
                    if found is None:
                        continue
                    nulls[name] += found.null_count or 0
                    if found.has_min_max and name not in schema.packed:
                        low, high = bounds.get(name, (math.inf, -math.inf))
                        bounds[name] = (min(low, found.min), max(high, found.max))
        problems += [
            f"column {name!r} is null in {count:,} rows of split {split!r}; a feature needs a value in every row"
            for name, count in nulls.items()
            if count
        ]
        for name, (low, high) in bounds.items():
            size = schema.categorical.get(name)
            if size is not None and not 0 <= low <= high < size:
                problems.append(
                    f"column {name!r} of split {split!r} holds ids from {low} to {high}, its vocabulary has 0 to "
                    f"{size - 1}; prepare the data again"
                )
            if size is None and not (math.isfinite(low) and math.isfinite(high)):
                problems.append(f"column {name!r} of split {split!r} holds a number that is not finite")
    return problems


def _rates(folder: str, split: str, name: str, schema: Schema) -> Rates:
    classes = schema.labels[name]
    counts = np.zeros(max(classes, 1), np.int64)
    labelled = missing = 0
    total, low, high = 0.0, math.inf, -math.inf
    for batch in batches(folder, split, [name]):
        column = batch.column(0)
        missing += column.null_count
        values = column.drop_null().cast(pa.float64()).to_numpy()
        if not len(values):
            continue
        labelled += len(values)
        total += float(values.sum())
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if classes and 0 <= low <= high < classes:
            counts += np.bincount(values.astype(np.int64), minlength=classes)
    if not labelled:
        return Rates(0, missing, math.nan, math.nan, math.nan, ())
    return Rates(labelled, missing, total / labelled, low, high, tuple(counts.tolist()) if classes else ())


def _label_problems(name: str, of: Mapping[str, Rates], schema: Schema) -> list[str]:
    """Return the problems of a label."""
    classes = schema.labels[name]
    problems = []
    for split, rates in of.items():
        where = f"label {name!r} of split {split!r}"
        if not rates.labelled:
            problems.append(f"{where} is missing in every row; give it labels or leave the task out")
        elif not (math.isfinite(rates.low) and math.isfinite(rates.high)):
            problems.append(f"{where} holds a number that is not finite")
        elif classes and not 0 <= rates.low <= rates.high < classes:
            problems.append(f"{where} has {rates.low:g} to {rates.high:g}, its classes are 0 to {classes - 1}")
        elif classes and rates.low == rates.high and split != "test":
            problems.append(f"{where} is {rates.low:g} in every row; there is nothing to learn from one class")
    return problems


def _report(folder: str) -> Mapping[str, Any] | None:
    filesystem, root = locate(folder)
    path = f"{root}/preparation.json"
    if not is_file(filesystem, path):
        return None
    with filesystem.open_input_stream(path) as stream:
        report = json.loads(stream.read())
    return report if isinstance(report, dict) else None


def _rate(rates: Rates) -> str:
    missing = f", {rates.missing / (rates.labelled + rates.missing):.1%} missing" if rates.missing else ""
    if not rates.labelled:
        return "none"
    binary = len(rates.classes) == 2
    return (f"{rates.mean:.3%}" if binary else f"mean {rates.mean:.4g}, {rates.low:g} to {rates.high:g}") + missing


def _number(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:+.3f}"
