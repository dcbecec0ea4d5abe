"""Requests in JSON and their answers, in the form of ``mlflow models serve``: a client need not know which answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from nmt.trainers.export.predictor import Predictions, Predictor, to_table

RECORDS, SPLIT = "dataframe_records", "dataframe_split"

Answer = dict[str, Any]
"""``predictions``, one mapping of task → value per row, and ``problems``; or ``error``."""


def parse_rows(body: object) -> pa.Table:
    """Return the rows of a request.

    Args:
        body: ``{"dataframe_records": [{column: value}, …]}``, or
            ``{"dataframe_split": {"columns": […], "data": [[…], …]}}``.

    Raises:
        ValueError: It is neither, or its rows are no table.
    """
    if isinstance(body, Mapping):
        if isinstance(records := body.get(RECORDS), list) and all(isinstance(row, Mapping) for row in records):
            return to_table(_with_all_columns(records))
        found = body.get(SPLIT)
        if isinstance(found, Mapping) and isinstance(columns := found.get("columns"), list):
            data = found.get("data")
            if isinstance(data, list) and all(isinstance(row, list) and len(row) == len(columns) for row in data):
                return to_table({name: [row[i] for row in data] for i, name in enumerate(columns)})
    raise ValueError(
        f'the body is no rows; give {{"{RECORDS}": [{{"column": value, …}}, …]}} or '
        f'{{"{SPLIT}": {{"columns": […], "data": [[…], …]}}}}'
    )


def answer_all(predictor: Predictor, requests: Sequence[pa.Table]) -> list[Answer]:
    """Predict the rows of several requests in one pass where their columns fit; a bad request spoils no other.

    Args:
        predictor: The model.
        requests: Rows of each request.
    """
    if len(requests) > 1:
        try:
            together = pa.concat_tables(
                [rows.select(list(predictor.model.encoder.columns)) for rows in requests], promote_options="permissive"
            )
            found = predictor.predict(together)
        except (KeyError, ValueError, pa.ArrowException):
            return [answer for rows in requests for answer in answer_all(predictor, [rows])]
        answers, first = [], 0
        for rows in requests:
            answers.append(_answer(found, first, rows.num_rows))
            first += rows.num_rows
        return answers
    try:
        return [_answer(predictor.predict(rows), 0, rows.num_rows) for rows in requests]
    except ValueError as error:
        return [{"error": str(error)}]


def _answer(found: Predictions, first: int, rows: int) -> Answer:
    return {
        "predictions": found.table.slice(first, rows).to_pylist(),
        "problems": [
            {"row": problem.row - first, "column": problem.column, "text": problem.text}
            for problem in found.problems
            if first <= problem.row < first + rows
        ],
    }


def _with_all_columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of records, also of those that the first record lacks."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}
