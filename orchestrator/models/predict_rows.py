"""Predictions for some raw rows, as a table to write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from nmt.trainers.encoding.encoder import Problem
from nmt.trainers.export.predictor import Predictor

PROBLEM = "problem"
"""Column that says why a row has no prediction."""


def predict_table(predictor: Predictor, rows: pa.Table, keep: Sequence[str], prefix: str) -> pa.Table:
    """Return the kept columns of some rows, one column per task, and :data:`PROBLEM`.

    Raises:
        ValueError: A column is missing or has a type that cannot hold its values.
    """
    found = predictor.predictions(rows)
    columns = {name: rows[name] for name in keep}
    columns |= {f"{prefix}{name}": found.table[name] for name in found.table.column_names}
    columns[PROBLEM] = _problem_column(found.problems, rows.num_rows)
    return pa.table(columns)


def _problem_column(problems: Sequence[Problem], rows: int) -> pa.Array:
    texts = np.full(rows, None, object)
    for problem in problems:
        text = f"{problem.column}: {problem.text}"
        texts[problem.row] = text if texts[problem.row] is None else f"{texts[problem.row]}; {text}"
    return pa.array(texts, pa.string())
