"""Requests in JSON get the predictions that files get, and a bad request spoils no other."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from nmt.orchestrator.serve.answers import answer_all, parse_rows
from nmt.trainers.export.predictor import Predictor
from tests.orchestrator.models.test_files import model, table

PREDICTOR = Predictor(model())
ROWS = table(7).select(["user", "age"])


def expected(rows: pa.Table) -> list[dict[str, float]]:
    found: list[dict[str, float]] = PREDICTOR.predict(rows).table.to_pylist()
    return found


def close(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> bool:
    """Whether predictions agree up to the rounding of single precision, which depends on the rows of a pass."""
    return len(found) == len(wanted) and all(
        one == pytest.approx(other, abs=1e-6) for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("form", ["records", "split"])
def test_both_forms_of_mlflow(form: str) -> None:
    body = (
        {"dataframe_records": ROWS.to_pylist()}
        if form == "records"
        else {"dataframe_split": {"columns": ["user", "age"], "data": [list(row.values()) for row in ROWS.to_pylist()]}}
    )
    rows = parse_rows(json.loads(json.dumps(body)))
    assert answer_all(PREDICTOR, [rows]) == [{"predictions": expected(ROWS), "problems": []}]


def test_a_record_may_lack_what_is_missing() -> None:
    rows = parse_rows({"dataframe_records": [{"age": 3}, {"user": "a", "age": 4}]})
    assert rows.to_pylist() == [{"age": 3, "user": None}, {"age": 4, "user": "a"}]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"rows": []},
        {"dataframe_records": "x"},
        {"dataframe_records": [1]},
        {"dataframe_split": {"columns": ["a"]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
    ],
)
def test_what_is_no_rows_is_refused_with_what_is_allowed(body: object) -> None:
    with pytest.raises(ValueError, match="dataframe_records"):
        parse_rows(body)


def test_requests_are_answered_together_and_each_gets_its_own() -> None:
    parts = [ROWS.slice(0, 2), ROWS.slice(2, 1), ROWS.slice(3)]
    answers = answer_all(PREDICTOR, parts)
    for answer, part in zip(answers, parts, strict=True):
        assert close(answer["predictions"], expected(part))


def test_a_bad_value_is_reported_in_its_own_request() -> None:
    bad = pa.table({"user": ["a", "b"], "age": [3.0, -1.0]})
    first, second = answer_all(PREDICTOR, [ROWS, bad])
    assert close(first["predictions"], expected(ROWS))
    assert first["problems"] == []
    assert second["predictions"][1] == {"like": None, "dwell": None}
    assert second["problems"] == [{"row": 1, "column": "age", "text": "-1.0: values from 0 up are allowed"}]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (pa.table({"user": ["a"]}), "the data lack age"),
        (pa.table({"user": [["a"]], "age": [1.0]}), "column 'user' holds list"),
        (pa.table({"user": ["a"], "age": ["x"]}), "column 'age' holds string"),
    ],
)
def test_a_bad_request_spoils_no_other(bad: pa.Table, words: str) -> None:
    first, second, third = answer_all(PREDICTOR, [ROWS, bad, ROWS.slice(0, 1)])
    assert close(first["predictions"], expected(ROWS))
    assert words in second["error"]
    assert close(third["predictions"], expected(ROWS.slice(0, 1)))
