from __future__ import annotations

import json
import math
from typing import Any

import pytest

from nmt.trainers.records import Candidate, Deviation, Optimum, Row, StageRecord
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


def evaluated(*steps: int, **others: Any) -> StageRecord:
    """A record with candidates at these steps; what they found does not matter here."""
    return record(candidates=tuple(Candidate(step, {}, {}, (), True, True) for step in steps), **others)


@pytest.mark.parametrize(
    ("accepted", "expected"), [(0, "start"), (3, "first"), (6, "between"), (9, "between"), (12, "last")]
)
def test_which_evaluation_was_accepted(accepted: int, expected: str) -> None:
    assert evaluated(0, 3, 6, 9, 12, accepted_step=accepted, steps=12).accepted_evaluation == expected


def test_points_on_the_way_back_are_no_evaluations_of_their_own() -> None:
    """A retreat is evaluated at the step of the candidate that broke a limit."""
    retreated = evaluated(0, 3, 3, 3, 6, 6, accepted_step=3, steps=6)
    assert retreated.accepted_evaluation == "first"
    assert evaluated(0, 3, 6, 6, accepted_step=6, steps=6).accepted_evaluation == "last"


def test_a_single_evaluation_is_the_last_one() -> None:
    """There was nothing after it that could have been better."""
    assert evaluated(0, 3, accepted_step=3, steps=3).accepted_evaluation == "last"
    assert evaluated(0, 3, accepted_step=0, steps=3).accepted_evaluation == "start"


class TestCurrencies:
    """A verdict goes by the loss or by the metric."""

    better, worse = (
        Deviation("auc", 0.7, 0.7 + change, change, 0.01, 0.01, held=change > -0.01, higher_is_better=True)
        for change in (0.05, -0.05)
    )

    def test_the_loss_decides_unless_it_is_said_otherwise(self) -> None:
        kept, broken = verdict(metric=self.worse), verdict(difference=0.1, metric=self.better)
        assert (kept.kept, broken.kept) == (True, False)
        assert (kept.deciding.quantity, kept.deciding.worse) == ("loss", 0.0)

    def test_the_metric_decides(self) -> None:
        broken = verdict(metric=self.worse, accept_on="metric")
        kept = verdict(difference=0.1, metric=self.better, accept_on="metric")
        assert (kept.kept, broken.kept) == (True, False)
        assert (kept.held, broken.held) == (False, True)  # of the loss, as ever

    def test_worse_has_the_sign_of_the_quantity(self) -> None:
        assert self.worse.worse == pytest.approx(0.05)
        assert self.better.worse == pytest.approx(-0.05)
        assert Deviation("rmse", 1.0, 1.5, 0.5, 0.1, 0.1, held=False).worse == 0.5

    def test_the_guarantee_of_a_stage_follows_it(self) -> None:
        kept = verdict(difference=0.1, metric=self.better, accept_on="metric")
        assert record(verdicts=(kept,)).held
        assert not record(verdicts=(kept, verdict(metric=self.worse, accept_on="metric"))).held

    def test_round_trip(self) -> None:
        one = record(verdicts=(verdict(metric=self.worse, accept_on="metric"), verdict(metric=None)))
        assert StageRecord.from_json(one.to_json()) == one
        assert Candidate.from_json(one.candidates[0].to_json()) == one.candidates[0]


def test_verdict_by_task_and_split() -> None:
    found = record().verdict("first", "test")
    assert found is not None
    assert found.difference == 0.25
    assert record().verdict("second", "test") is None
    assert record().verdict("first", "train") is None
