"""How often a stage is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.pace import evaluation_steps, evaluations_per_epoch


@dataclass
class Sizes:
    train: int
    valid: int

    def examples(self, split: str) -> int:
        return int(getattr(self, split))


@pytest.mark.parametrize(
    ("train", "valid", "expected"),
    [(8000, 1000, 2), (5000, 1000, 1), (20_000, 1000, 6), (10**6, 1000, 6), (1000, 1000, 1), (10_000, 1000, 3)],
)
def test_a_tenth_of_the_time_of_the_steps(train: int, valid: int, expected: int) -> None:
    found = evaluations_per_epoch(None, cast(Feed, Sizes(train, valid)))
    assert found == expected
    assert found == 1 or found * valid / 3 <= 0.1 * train


def test_what_is_asked_for_is_done() -> None:
    assert evaluations_per_epoch(9, cast(Feed, Sizes(10, 10))) == 9


@pytest.mark.parametrize(
    ("evaluations", "steps", "expected"),
    [(1, 7, {7}), (2, 7, {4, 7}), (3, 7, {3, 5, 7}), (9, 3, {1, 2, 3})],
)
def test_evenly_spread(evaluations: int, steps: int, expected: set[int]) -> None:
    assert evaluation_steps(evaluations, steps) == expected
