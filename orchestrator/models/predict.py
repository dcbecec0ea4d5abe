"""Predictions for the rows of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.models.rows import RowFiles, RowWriter
from nmt.trainers.encoding.encoder import Problem
from nmt.trainers.export.predictor import Predictor

PROBLEM = "problem"
"""Column that says why a row has no prediction."""

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
    """

    path: str
    rows: int = 0
    bad_rows: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


def predict_files(
    predictor: Predictor,
    data: str,
    out: str,
    *,
    keep: Sequence[str] = (),
    prefix: str = "",
    progress: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Predict all rows of files; memory does not grow with their number.

    Args:
        predictor: The model.
        data: File or folder of raw rows.
        out: File to write: the kept columns, one column per task, and :data:`PROBLEM`.
        keep: Columns of the data to write too, such as ids.
        prefix: Put before the names of the tasks.
        progress: Called with the number of rows so far.

    Raises:
        RequestError: A column is missing, has a type that cannot hold its values, or would be written twice.
    """
    files = RowFiles(data)
    encoder = predictor.model.encoder
    _check_names(files, encoder.columns, keep, [f"{prefix}{task.name}" for task in predictor.model.tasks])
    wanted = list(dict.fromkeys([*keep, *encoder.columns]))
    done = Predicted(out)
    with RowWriter(out) as writer:
        for rows in files.batches(wanted):
            try:
                found = predictor.predictions(rows)
            except ValueError as error:
                raise RequestError(f"{data}: {error}") from error
            columns = {name: rows[name] for name in keep}
            columns |= {f"{prefix}{name}": found.table[name] for name in found.table.column_names}
            columns[PROBLEM] = _problem_column(found.problems, rows.num_rows)
            writer.write(pa.table(columns))
            done.columns = list(columns)
            done.problems += [
                {**asdict(problem), "row": done.rows + problem.row}
                for problem in found.problems[: MOST_PROBLEMS - len(done.problems)]
            ]
            done.bad_rows += len({problem.row for problem in found.problems})
            done.rows += rows.num_rows
            progress(done.rows)
        if not done.rows:
            raise RequestError(f"{data} has no rows; nothing was written")
    return done


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


def _problem_column(problems: Sequence[Problem], rows: int) -> pa.Array:
    texts = np.full(rows, None, object)
    for problem in problems:
        text = f"{problem.column}: {problem.text}"
        texts[problem.row] = text if texts[problem.row] is None else f"{texts[problem.row]}; {text}"
    return pa.array(texts, pa.string())
