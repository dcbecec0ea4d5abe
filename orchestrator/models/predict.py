"""Predictions for the rows of files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nmt.orchestrator.errors import RequestError, first_line
from nmt.orchestrator.experiment.preflight import available_cpus
from nmt.orchestrator.models.predict_rows import PROBLEM, predict_table
from nmt.orchestrator.models.rows import RowFiles, RowWriter
from nmt.trainers.export.predictor import Predictor

MOST_PROBLEMS = 10
"""Problems that are shown; the file has all."""


@dataclass
class Predicted:
    """What was predicted.

    Attributes:
        path: The file with the predictions, one row per row of the data, in their order.
        rows: Rows in all.
        bad_rows: Rows without a prediction.
        problems: The first of them: row of the data, column, text.
        columns: Columns of the file.
        workers: Processes that predicted.
    """

    path: str
    rows: int = 0
    bad_rows: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    workers: int = 1

    def add(self, table: pa.Table) -> None:
        """Count written rows."""
        self.columns = table.column_names
        bad = np.flatnonzero(table[PROBLEM].is_valid().to_numpy())
        for row in bad[: MOST_PROBLEMS - len(self.problems)].tolist():
            column, _, text = table[PROBLEM][row].as_py().partition(": ")
            self.problems.append({"row": self.rows + row, "column": column, "text": text})
        self.bad_rows += len(bad)
        self.rows += table.num_rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


RAY_BYTES = 1 << 30
"""Input in bytes above which several workers predict by default; starting Ray takes seconds."""

MAX_LOCAL_WORKERS = 8
"""Most workers by default on this machine: one process writes what they predict."""


def predict_files(
    predictor: Predictor,
    data: str,
    out: str,
    *,
    keep: Sequence[str] = (),
    prefix: str = "",
    workers: int | None = None,
    address: str | None = None,
    verbose: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Predict all rows of files; memory does not grow with their number.

    Args:
        predictor: The model.
        data: File or folder of raw rows.
        out: File to write: the kept columns, one column per task, and :data:`PROBLEM`.
        keep: Columns of the data to write too, such as ids.
        prefix: Put before the names of the tasks.
        workers: Processes that predict, on Ray if more than one; by default one, or several for :data:`RAY_BYTES` of
            data or more. The result is the same.
        address: Ray cluster to join, whose nodes all reach the data; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
        progress: Called with the number of rows so far.

    Raises:
        RequestError: A column is missing, has a type that cannot hold its values, or would be written twice.
        RunError: A worker was lost.
    """
    files = RowFiles(data)
    encoder = predictor.model.encoder
    _check_names(files, encoder.columns, keep, [f"{prefix}{task.name}" for task in predictor.model.tasks])
    if workers is not None and workers < 1:
        raise RequestError(f"--workers is {workers}; give at least 1")
    wanted = list(dict.fromkeys([*keep, *encoder.columns]))
    workers = workers or default_workers(files.bytes, address)
    done = Predicted(out, workers=workers)
    tables: Generator[pa.Table, None, None]
    if workers == 1 and address is None:
        tables = (predict_table(predictor, rows, keep, prefix) for rows in files.batches(wanted))
    else:
        from nmt.orchestrator.models.predict_on_ray import predict_on_ray

        tables = predict_on_ray(predictor, files, wanted, keep, prefix, workers, address, verbose)
    with RowWriter(out) as writer, closing(tables):
        try:
            for table in tables:
                writer.write(table)
                done.add(table)
                progress(done.rows)
        except ValueError as error:
            raise RequestError(f"{data}: {first_line(error)}") from error
        if not done.rows:
            raise RequestError(f"{data} has no rows; nothing was written")
    return done


def default_workers(size: int, address: str | None) -> int:
    """Return how many processes predict data of so many bytes, where nobody says it."""
    if size < RAY_BYTES and address is None:
        return 1
    return max(1, min(MAX_LOCAL_WORKERS, available_cpus() - 1))


def _check_names(files: RowFiles, needed: Sequence[str], keep: Sequence[str], written: Sequence[str]) -> None:
    if missing := [name for name in keep if name not in files.names]:
        raise RequestError(f"--keep names {', '.join(missing)}; the data have {', '.join(files.names)}")
    if missing := [name for name in needed if name not in files.names]:
        raise RequestError(
            f"the data lack {', '.join(missing)}, which the model reads; they have {', '.join(files.names)}. Rename or "
            "add the columns"
        )
    if twice := [name for name in (*written, PROBLEM) if name in keep]:
        raise RequestError(f"{', '.join(twice)} would be written twice; give --prefix, such as --prefix predicted_")
