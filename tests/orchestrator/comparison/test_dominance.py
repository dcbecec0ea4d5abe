"""Dominance worked by hand: ties, directions, missing metrics."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from nmt.orchestrator.comparison.dominance import Standing, dominates, front, standing
from nmt.orchestrator.comparison.results import ComparedTask
from tests.orchestrator._comparison import model, tasks

UP = tasks("a", "b")
DOWN = tasks("a", "b", metric="loss", higher=False)
MIXED = (ComparedTask("a", 1, "auc", True), ComparedTask("b", 2, "loss", False))


def two(a: float, b: float) -> dict[str, float]:
    return {"a": a, "b": b}


@pytest.mark.parametrize(
    ("one", "other", "up", "down", "mixed"),
    [
        (two(2, 2), two(1, 1), True, False, False),
        (two(1, 1), two(2, 2), False, True, False),
        (two(2, 1), two(1, 2), False, False, True),
        (two(1, 2), two(1, 1), True, False, False),
        (two(1, 1), two(1, 2), False, True, True),
        (two(1, 1), two(1, 1), False, False, False),
        (two(2, math.nan), two(1, 1), False, False, False),
        (two(2, 2), two(1, math.nan), False, False, False),
        ({"a": 2.0}, two(1, 1), False, False, False),
        (two(2, math.inf), two(1, 1), False, False, False),
    ],
)
def test_at_least_as_good_in_every_task_and_better_in_one(
    one: dict[str, float], other: dict[str, float], up: bool, down: bool, mixed: bool
) -> None:
    assert dominates(one, other, UP) is up
    assert dominates(one, other, DOWN) is down
    assert dominates(one, other, MIXED) is mixed


def test_the_front_by_hand_with_ties_and_missing_metrics() -> None:
    values = [two(1, 5), two(3, 3), two(3, 3), two(3, 2), two(5, 1), two(0, 5), two(9, math.nan), {"a": 9.0}]
    models = [model(one) for one in values]
    assert [one.test for one in front(models, UP)] == [two(1, 5), two(3, 3), two(3, 3), two(5, 1)]
    assert [one.test for one in front(models, DOWN)] == [two(3, 2), two(5, 1), two(0, 5)]
    assert [one.test for one in front(models, MIXED)] == [two(5, 1)]
    assert len(front(models, UP[:1])) == 2  # by the first task alone, both with 9
    assert front([], UP) == ()


def test_the_front_is_what_no_model_dominates() -> None:
    draw = random.Random(3)
    three = tasks("a", "b", "c")
    models = [model({name: float(draw.randrange(6)) for name in "abc"}) for _ in range(60)]
    beaten = [any(dominates(other.test, one.test, three) for other in models) for one in models]
    expected = [one for one, is_beaten in zip(models, beaten, strict=True) if not is_beaten]
    assert list(front(models, three)) == expected
    assert not any(dominates(x.test, y.test, three) for x, y in itertools.permutations(expected, 2))


class TestStanding:
    GRID = tuple(model(one) for one in (two(1, 5), two(3, 3), two(5, 1), two(1, 1)))

    @pytest.mark.parametrize(
        ("star", "place", "dominating", "dominated", "front_dominated"),
        [
            (two(4, 4), "beyond", 0, 2, 1),
            (two(3, 5), "beyond", 0, 3, 2),
            (two(2, 4), "on", 0, 1, 0),  # between two of the front: another trade-off
            (two(6, 0), "on", 0, 0, 0),
            (two(3, 3), "on", 0, 1, 0),  # equal to one of the front
            (two(2, 2), "inside", 1, 1, 0),
            (two(0, 0), "inside", 4, 0, 0),
        ],
    )
    def test_place_and_counts(
        self, star: dict[str, float], place: str, dominating: int, dominated: int, front_dominated: int
    ) -> None:
        found = standing(model(star), self.GRID, UP)
        assert found == Standing(4, 0, dominating, dominated, 3, front_dominated)
        assert found.place == place

    def test_models_that_lack_a_metric_are_counted_apart(self) -> None:
        grid = (*self.GRID, model({"a": 9.0}), model(two(9, math.nan)))
        assert standing(model(two(4, 4)), grid, UP) == Standing(4, 2, 0, 2, 3, 1)

    def test_no_standing_where_nothing_can_be_compared(self) -> None:
        assert standing(model({"a": 1.0}), self.GRID, UP) is None
        assert standing(model(two(1, 1)), [], UP) is None
        assert standing(model(two(1, 1)), [model({"b": 1.0})], UP) is None
