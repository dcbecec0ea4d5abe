"""The lexicographic choice, on stages whose losses are known example by example."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import TrialResult
from nmt.orchestrator.trials.winner import lexicographic_winner
from tests.orchestrator._trials import Samples, Shelf

LEVELS = [["a"], ["b"]]
EXAMPLES = 100


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def flat(value: float) -> list[float]:
    return [value] * EXAMPLES


def wavy(value: float, swing: float) -> list[float]:
    """A mean of ``value``; against :func:`flat` the paired difference has a standard error of swing / √99."""
    return [value + swing, value - swing] * (EXAMPLES // 2)


def winner(shelf: Shelf, results: Sequence[TrialResult], levels: Sequence[Sequence[str]] = LEVELS) -> str | None:
    """Return the label of the winner, which must not depend on the order of the trials."""
    held_out = HeldOut(shelf.stages)
    found = [lexicographic_winner(order, levels, held_out) for order in itertools.permutations(results)]
    (label,) = {best.trial.label if best is not None else None for best in found}
    return label


def test_the_first_level_decides_beyond_its_error(shelf: Shelf) -> None:
    best = shelf.result("best on a", {"a": flat(0.5), "b": flat(0.9)})
    other = shelf.result("best on b", {"a": wavy(0.6, 0.5), "b": flat(0.1)})  # 0.1 worse, SE 0.050
    assert winner(shelf, [best, other]) == "best on a"


def test_within_the_error_the_next_level_decides(shelf: Shelf) -> None:
    best = shelf.result("best on a", {"a": flat(0.5), "b": flat(0.9)})
    other = shelf.result("best on b", {"a": wavy(0.54, 0.5), "b": flat(0.1)})  # 0.04 worse, SE 0.050
    assert winner(shelf, [best, other]) == "best on b"


@pytest.mark.parametrize(("worse", "label"), [(0.0502, "b"), (0.0504, "a")])
def test_the_limit_is_one_standard_error(shelf: Shelf, worse: float, label: str) -> None:
    """0.5 / √99 = 0.05025."""
    results = [
        shelf.result("a", {"a": flat(0.5), "b": flat(0.9)}),
        shelf.result("b", {"a": wavy(0.5 + worse, 0.5), "b": flat(0.1)}),
    ]
    assert winner(shelf, results) == label


def test_a_paired_difference_is_sharper_than_the_errors_of_the_losses(shelf: Shelf) -> None:
    """Losses vary by ±5 between examples, and one model is worse by the same 0.01 on each."""
    best = shelf.result("a", {"a": wavy(10.0, 5.0), "b": flat(0.9)})
    other = shelf.result("b", {"a": wavy(10.01, 5.0), "b": flat(0.1)})
    assert winner(shelf, [best, other]) == "a"


def test_small_losses_do_not_add_up(shelf: Shelf) -> None:
    """Each is as good as the one before, but the last is not as good as the best, and is out."""
    step = 0.04
    results = [
        shelf.result("0", {"a": flat(0.5), "b": flat(0.9)}),
        shelf.result("1", {"a": wavy(0.5 + step, 0.5), "b": flat(0.8)}),
        shelf.result("2", {"a": wavy(0.5 + 2 * step, 0.5), "b": flat(0.1)}),
    ]
    assert winner(shelf, results) == "1"


def test_three_levels(shelf: Shelf) -> None:
    levels = [["a"], ["b"], ["c"]]
    results = [
        shelf.result("out at a", {"a": flat(0.7), "b": flat(0.1), "c": flat(0.1)}),
        shelf.result("out at b", {"a": flat(0.5), "b": flat(0.3), "c": flat(0.1)}),
        shelf.result("second at c", {"a": flat(0.5), "b": flat(0.2), "c": flat(0.9)}),
        shelf.result("wins", {"a": flat(0.5), "b": flat(0.2), "c": flat(0.8)}),
    ]
    assert winner(shelf, results, levels) == "wins"


def test_ties_go_to_the_first(shelf: Shelf) -> None:
    results = [shelf.result(label, {"a": flat(0.5), "b": flat(0.5)}) for label in ("one", "two", "three")]
    for order in itertools.permutations(results):
        assert lexicographic_winner(order, LEVELS, HeldOut(shelf.stages)) is order[0]


def test_a_level_of_two_tasks_is_judged_by_their_sum(shelf: Shelf) -> None:
    """One model gains on a exactly what it loses on b, so D = 0 and SE = 0, and the last level decides."""
    levels = [["a", "b"], ["c"]]
    swing = wavy(0.0, 0.4)
    even = shelf.result("even", {"a": flat(0.5), "b": flat(0.5), "c": flat(0.9)})
    shifted = {"a": [0.5 + x for x in swing], "b": [0.5 - x for x in swing], "c": flat(0.1)}
    assert winner(shelf, [even, shelf.result("shifted", shifted)], levels) == "shifted"
    worse = {**shifted, "b": [0.51 - x for x in swing]}
    assert winner(shelf, [even, shelf.result("worse", worse)], levels) == "even"


def test_a_single_level_is_decided_by_its_loss(shelf: Shelf) -> None:
    results = [shelf.result("one", {"a": wavy(0.51, 0.5)}), shelf.result("two", {"a": flat(0.5)})]
    assert winner(shelf, results, [["a"]]) == "two"


@pytest.mark.parametrize("status", ["diverged", "failed", "stopped"])
def test_only_finished_trials_take_part(shelf: Shelf, status: str) -> None:
    good: dict[str, Samples] = {"a": flat(0.1), "b": flat(0.1)}
    out = shelf.result("out", good, status=status)  # type: ignore[arg-type]
    assert winner(shelf, [out]) is None
    assert winner(shelf, [out, shelf.result("in", {"a": flat(0.5), "b": flat(0.5)})]) == "in"


def test_without_trials_there_is_no_winner(shelf: Shelf) -> None:
    assert lexicographic_winner([], LEVELS, HeldOut(shelf.stages)) is None


def test_a_model_without_one_of_the_tasks_is_left_out(shelf: Shelf) -> None:
    alone = shelf.result("a alone", {"a": flat(0.1)})
    assert winner(shelf, [alone]) is None
    assert winner(shelf, [alone, shelf.result("both", {"a": flat(0.5), "b": flat(0.5)})]) == "both"
    assert winner(shelf, [alone], [["a"]]) == "a alone"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_never_wins(shelf: Shelf, value: float) -> None:
    fine = shelf.result("fine", {"a": flat(0.9), "b": flat(0.9)})
    first = shelf.result("nan on a", {"a": flat(0.1), "b": flat(0.1)}, losses={"a": value})
    last = shelf.result("nan on b", {"a": flat(0.9), "b": flat(0.1)}, losses={"b": value})
    assert winner(shelf, [fine, first, last]) == "fine"


def test_a_level_without_finite_losses_is_skipped(shelf: Shelf) -> None:
    results = [
        shelf.result("one", {"a": flat(0.5), "b": flat(0.9)}, losses={"a": math.nan}),
        shelf.result("two", {"a": flat(0.5), "b": flat(0.1)}, losses={"a": math.nan}),
    ]
    assert winner(shelf, results) == "two"
