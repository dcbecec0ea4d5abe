from __future__ import annotations

import json
import math
from typing import Any

import pytest

from nmt.trainers.records import Candidate, Optimum, Row, StageRecord
from tests.trainers._problems import record, verdict

nan, inf = math.nan, math.inf


def strict(text: str) -> Any:
    """Parse JSON as other programs do: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_round_trip() -> None:
    assert StageRecord.from_json(record().to_json()) == record()
    first = record(parent=None, stage=0, protected=(), verdicts=(), multipliers={}, candidates=(), rows=())
    assert StageRecord.from_json(first.to_json()) == first


def test_text_is_stable() -> None:
    text = record().to_json()
    assert StageRecord.from_json(text).to_json() == text


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_number_that_is_not_finite_is_stored_as_null(value: float) -> None:
    bad = record(
        losses={"train": {"first": value, "second": 0.2}},
        multipliers={"first": value},
        rows=(Row(1, {"first": value}, {"first": value}, {"first": value}),),
    )
    raw = strict(bad.to_json())
    assert raw["losses"]["train"] == {"first": None, "second": 0.2}
    assert raw["multipliers"] == {"first": None}
    assert raw["rows"][0]["losses"] == {"first": None}


def test_a_null_is_read_as_nan() -> None:
    """Every number of a record is a float, whether it was read or is fresh: whoever compares or plots it sees NaN."""
    bad = record(
        optima=(Optimum("second", nan, 7, nan, 5),),
        verdicts=(verdict(difference=nan, standard_error=nan, allowed=nan),),
        multipliers={"first": nan},
        losses={"train": {"first": nan}},
        candidates=(Candidate(3, {"first": nan}, {}, (verdict(difference=nan),), False, False),),
        rows=(Row(1, {"first": nan}, {"first": nan}, {"first": nan}),),
    )
    read = StageRecord.from_json(bad.to_json())
    numbers = (
        read.optima[0].train,
        read.optima[0].valid,
        read.verdicts[0].difference,
        read.verdicts[0].standard_error,
        read.verdicts[0].allowed,
        read.multipliers["first"],
        read.losses["train"]["first"],
        read.candidates[0].losses["first"],
        read.candidates[0].verdicts[0].value,
        read.rows[0].losses["first"],
        read.rows[0].violations["first"],
        read.rows[0].multipliers["first"],
    )
    assert all(isinstance(number, float) and math.isnan(number) for number in numbers), numbers


def test_no_parent_stays_none() -> None:
    assert StageRecord.from_json(record(parent=None).to_json()).parent is None


def test_held_is_about_the_validation_split() -> None:
    kept, broken = verdict(), verdict(difference=0.1)
    assert record(verdicts=()).held
    assert record(verdicts=(kept, verdict(split="test", difference=0.1))).held
    assert not record(verdicts=(kept, broken)).held


def test_gained() -> None:
    assert record(accepted_step=1).gained
    assert not record(accepted_step=0).gained


def test_verdict_by_task_and_split() -> None:
    found = record().verdict("first", "test")
    assert found is not None
    assert found.difference == 0.25
    assert record().verdict("second", "test") is None
    assert record().verdict("first", "train") is None
