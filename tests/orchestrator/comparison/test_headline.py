"""The headline of a comparison, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nmt.orchestrator.comparison.headline import (
    chosen_model,
    headline,
    is_single_task,
    models_of,
    row_of,
    samples_seen,
    star_standing,
)
from nmt.orchestrator.comparison.results import ComparedModel, Comparison
from nmt.orchestrator.comparison.table import comparison_markdown
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.guarantee import Guarantee
from tests.orchestrator._comparison import comparison, model, nothing_chosen, row, tasks, with_nan, without

FRONT = ({"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 3.0}, {"a": 5.0, "b": 1.0}, {"a": 1.0, "b": 1.0})


def by_hand(
    star: dict[str, float], *, guarantee: Guarantee = "held", planned: int = 4, others: tuple[ComparedModel, ...] = ()
) -> Comparison:
    """A star and four grid models."""
    sweep = [model(star, "sweep", winner=True, guarantee=guarantee, worst_task="a")]
    grid = [model(one) for one in FRONT]
    rows = [row("NMT", "sweep", sweep), row("grid", "grid", grid, planned)]
    rows += [row(one.label, one.source, [one]) for one in others]
    return Comparison("x", "", tasks("a", "b"), (*sweep, *grid, *others), tuple(rows), (), (), True)


@pytest.mark.parametrize(
    ("star", "place", "how", "then"),
    [
        ({"a": 4.0, "b": 4.0}, "beyond", "none of the 4 grid models dominates it", "2, 1 of them on the front"),
        ({"a": 2.0, "b": 4.0}, "on", "none of the 4 grid models dominates it", "1"),
        ({"a": 9.0, "b": 0.0}, "on", "none of the 4 grid models dominates it", "none"),
        ({"a": 2.0, "b": 2.0}, "inside", "1 of the 4 grid models dominates it", "1"),
        ({"a": 0.0, "b": 0.0}, "inside", "4 of the 4 grid models dominate it", "none"),
    ],
)
def test_the_place_of_the_chosen_model(star: dict[str, float], place: str, how: str, then: str) -> None:
    assert headline(by_hand(star)).front == (
        f"On the test split the chosen model lies {place} the grid's front: {how}, and it dominates {then}."
    )


def test_a_chosen_model_that_dominates_only_the_front() -> None:
    found = by_hand({"a": 3.0, "b": 4.0})
    found = replace(found, models=tuple(one for one in found.models if one.test != FRONT[3]))
    assert headline(found).front.endswith("it dominates 1, on the front.")


def test_only_trained_grid_models_are_counted_and_labelled_so() -> None:
    found = headline(by_hand({"a": 4.0, "b": 4.0}, planned=25))
    assert found.cost == (
        "NMT's sweep took 100,000 samples, the grid ≈ 2,500,000 (extrapolated from 4 of 25): about 25 times as many."
    )
    assert "none of the 4 trained grid models dominates it" in found.front
    assert "about" not in headline(by_hand({"a": 4.0, "b": 4.0})).cost


def test_a_grid_that_costs_less() -> None:
    found = comparison(["a"], points=5, limit=None)
    assert headline(found).cost == "NMT's sweep took 900,000 samples, the grid 500,000: 0.56 times as many."


@pytest.mark.parametrize(
    ("guarantee", "said"),
    [
        ("held", "The guarantee held: every protected task is within its limit on the validation split"),
        ("broken", "The guarantee did not hold: a is beyond its limit on the validation split"),
        ("unknown", "Whether the guarantee held is unknown: it was not evaluated"),
    ],
)
def test_the_guarantee(guarantee: Guarantee, said: str) -> None:
    found = headline(by_hand({"a": 4.0, "b": 4.0}, guarantee=guarantee))
    assert found.guarantee == said
    assert found.text == f"{found.cost} {said}. {found.front}"


def test_one_level_protects_nothing() -> None:
    assert headline(comparison(["only"])).guarantee == "Nothing is protected: there is one level"


def test_methods_that_dominate_the_chosen_model_are_named() -> None:
    better = model({"a": 4.0, "b": 5.0}, "method", "famo", winner=True)
    worse = model({"a": 1.0, "b": 1.0}, "baseline", "equal weights", winner=True)
    assert headline(by_hand({"a": 4.0, "b": 4.0}, others=(better, worse))).front.endswith(" It is dominated by famo.")
    assert "is dominated by" not in headline(by_hand({"a": 4.0, "b": 4.0}, others=(worse,))).front


def test_missing_metrics_are_not_counted() -> None:
    assert headline(with_nan(comparison())).front.endswith("; 2 more lack a metric.")
    assert "18 trained grid models" in headline(with_nan(comparison())).front


def test_without_a_grid_nothing_is_claimed() -> None:
    found = headline(without(comparison(), "grid"))
    assert found.cost == "NMT's sweep took 2,700,000 samples; there is no grid to compare it with."
    assert found.front == "The chosen model cannot be compared with a front: there is no trained grid."


def test_a_grid_without_a_finished_trial() -> None:
    found = comparison(limit=0)
    assert headline(found).cost == "NMT's sweep took 2,700,000 samples; the grid finished no trial."


def test_no_chosen_model() -> None:
    found = headline(nothing_chosen(comparison()))
    assert found.cost == "NMT's sweep finished no trial."
    assert found.guarantee.startswith("No model of NMT was chosen")
    assert found.front.startswith("Without a chosen model")
    assert headline(without(comparison(), "sweep")).cost == "There is no sweep of NMT."


def test_rows_models_and_single_task_models_are_found() -> None:
    found = comparison()
    star = chosen_model(found)
    assert star is not None
    assert (star.source, star.winner) == ("sweep", True)
    grid = row_of(found, "grid")
    assert grid is not None
    assert grid.extrapolated
    assert len(models_of(found, "sweep")) == 9
    assert [one.label for one in found.models if is_single_task(one, found)] == [
        "pay alone",
        "amount alone",
        "relevance alone",
    ]
    assert not any(is_single_task(one, comparison(["only"])) for one in comparison(["only"]).models)
    standing = star_standing(found)
    assert standing is not None
    assert standing.others == 20


def test_how_much_training_the_chosen_models_had() -> None:
    """The path of NMT's winner, whichever trial paid for its stages, against the grid's."""
    chain = model({"pay": 0.9}, "sweep", winner=True, cost=Cost(samples=1_000, samples_reused=2_500))
    weights = model({"pay": 0.8}, "grid", winner=True, cost=Cost(samples=900))
    described = replace(
        comparison(["pay"]),
        models=(chain, weights),
        rows=(row("NMT", "sweep", [chain]), row("grid", "grid", [weights])),
    )
    said = samples_seen(described)
    assert "NMT's 3,500 over all its stages, the grid's 900, which has the budget of one stage" in said
    assert said in comparison_markdown(described).replace("\\", "")
    assert samples_seen(nothing_chosen(described)) == ""
