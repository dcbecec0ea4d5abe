from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from nmt.trainers.stage.stopping import Patience
from tests.trainers._problems import verdict


def ended_after(patience: Patience, objectives: Sequence[float]) -> int | None:
    """Number of evaluations after which the stage ended."""
    return next((n for n, value in enumerate(objectives, 1) if patience.update(value, ())), None)


@pytest.mark.parametrize("evaluations", [1, 2, 5])
def test_waits_for_so_many_evaluations(evaluations: int) -> None:
    assert ended_after(Patience(evaluations, 0.0), [1.0] * 10) == 1 + evaluations


def test_improvement_starts_the_wait_again() -> None:
    assert ended_after(Patience(2, 0.0), [1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.8]) == 7
    assert ended_after(Patience(1, 0.0), [5.0, 4.0, 3.0, 2.0, 1.0]) is None


def test_small_improvements_do_not_count() -> None:
    assert ended_after(Patience(2, 0.1), [1.0, 0.95, 0.91]) == 3
    assert ended_after(Patience(2, 0.1), [1.0, 0.95, 0.89, 0.85, 0.78]) is None  # together they do


def test_nothing_feasible_is_no_improvement() -> None:
    assert ended_after(Patience(3, 0.0), [math.inf] * 5) == 3
    assert ended_after(Patience(3, 0.0), [math.nan] * 5) == 3


def test_a_shrinking_violation_goes_on() -> None:
    patience = Patience(2, 0.0)
    for difference in (1.0, 0.5, 0.3, 0.2, 0.1, 0.05):
        assert not patience.update(1.0, [verdict(difference=difference)])
    assert not patience.update(1.0, [verdict(difference=0.05)])
    assert patience.update(1.0, [verdict(difference=0.06)])


def test_a_violation_is_what_exceeds_the_limit() -> None:
    patience = Patience(2, 0.0)
    assert not patience.update(1.0, [verdict(difference=0.3, allowed=0.1)])
    assert not patience.update(1.0, [verdict(difference=0.3, allowed=0.2)])  # the excess shrank
    assert not patience.update(1.0, [verdict(difference=0.5, allowed=0.5)])  # held: there is nothing to shrink
    assert patience.update(1.0, [verdict(difference=0.4, allowed=0.5)])


def test_every_task_is_watched() -> None:
    patience = Patience(1, 0.0)
    assert not patience.update(1.0, [verdict("a", 0.5), verdict("b", 0.5)])
    assert not patience.update(1.0, [verdict("a", 0.9), verdict("b", 0.4)])
    assert not patience.update(1.0, [verdict("a", 0.4), verdict("b", 0.9)])
    assert patience.update(1.0, [verdict("a", 0.4), verdict("b", 0.4)])


def test_smallest_decrease_of_a_violation() -> None:
    patience = Patience(1, 0.1)
    assert not patience.update(1.0, [verdict(difference=0.5)])
    assert patience.update(1.0, [verdict(difference=0.45)])


def test_nan_is_no_progress() -> None:
    patience = Patience(2, 0.0)
    assert not patience.update(1.0, [verdict(difference=math.nan)])
    assert not patience.update(1.0, [verdict(difference=math.nan)])
    assert patience.update(1.0, [verdict(difference=math.nan)])


def test_restart_waits_anew() -> None:
    patience = Patience(2, 0.0)
    assert ended_after(patience, [1.0, 1.0, 1.0]) == 3
    patience.restart()
    assert ended_after(patience, [1.0, 1.0]) == 2
    patience.restart()
    assert ended_after(patience, [1.0, 0.9, 0.9, 0.9]) == 4  # the best so far is still to be improved upon


def test_without_patience_a_stage_never_ends() -> None:
    patience = Patience(None, 0.0)
    assert ended_after(patience, [1.0] * 1000) is None
    assert ended_after(patience, [math.inf, math.nan] * 100) is None
