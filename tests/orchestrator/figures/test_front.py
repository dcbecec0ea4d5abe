"""The trade-off front: positions of its markers, and its title."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nmt.orchestrator.comparison.front_figure import (
    ALONE,
    BROKEN_STAR,
    FRONT,
    GRID,
    GRID_CHOSEN,
    MOST_PANELS,
    STAR,
    SWEEP,
    trade_off_front,
)
from nmt.orchestrator.comparison.headline import headline
from nmt.orchestrator.comparison.results import ComparedTask, Comparison
from tests.orchestrator._comparison import comparison, model, nothing_chosen, row, tasks, with_nan, without


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return list(zip(np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist(), strict=True))


def one(axes: Axes, label: str) -> Line2D:
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def rendered(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    return stream.getvalue()


def by_hand(first: bool = True, second: bool = True) -> Comparison:
    """Four grid models, two or three of them on the front in any directions."""
    values = [(1.0, 5.0), (3.0, 3.0), (5.0, 1.0), (1.0, 1.0), (5.0, 5.0)][: 4 if first and second else 5]
    grid = [model({"a": a, "b": b}) for a, b in values]
    star = model({"a": 4.0, "b": 4.0}, "sweep", winner=True, guarantee="held")
    described = (ComparedTask("a", 1, "auc", first), ComparedTask("b", 2, "loss", second))
    rows = (row("NMT", "sweep", [star]), row("grid", "grid", grid))
    return Comparison("x", "", described, (star, *grid), rows, (), (), True)


@pytest.mark.parametrize(
    "found",
    [
        comparison(),
        comparison(["only"]),
        comparison([f"t{index}" for index in range(64)], limit=5),
        comparison(["$a_1$", "_{b", "<c>"], higher=False),
        nothing_chosen(comparison()),
        without(comparison(), "grid"),
        without(comparison(), "sweep"),
        with_nan(comparison()),
    ],
    ids=["three", "one", "64", "odd-names", "nothing", "no-grid", "no-sweep", "nan"],
)
def test_every_comparison_can_be_drawn(found: Comparison) -> None:
    assert rendered(trade_off_front(found)).startswith(b"\x89PNG")


def test_every_point_is_at_its_metrics() -> None:
    found = comparison()
    (first, second, third) = drawn(trade_off_front(found))
    assert [axes.get_xlabel().split(":")[0] for axes in (first, second, third)] == ["pay", "pay", "amount"]
    assert [axes.get_ylabel().split(":")[0] for axes in (first, second, third)] == ["amount", "relevance", "relevance"]
    at = [(one.test["pay"], one.test["amount"]) for one in found.models if one.source == "grid"]
    assert points(first, GRID) == at
    (star,) = [one for one in found.models if one.source == "sweep" and one.winner]
    assert points(third, STAR) == [(star.test["amount"], star.test["relevance"])]
    assert len(points(second, SWEEP)) == 8
    chosen = found.rows[1].chosen
    assert chosen is not None
    assert points(first, GRID_CHOSEN) == [(chosen.test["pay"], chosen.test["amount"])]


def test_the_winner_is_a_large_filled_star_among_small_hollow_ones() -> None:
    (axes, *_) = drawn(trade_off_front(comparison()))
    star, others = one(axes, STAR), one(axes, SWEEP)
    assert star.get_marker() == others.get_marker() == "*"
    assert star.get_markersize() > others.get_markersize()
    assert same_color(others.get_markerfacecolor(), "white")
    assert not same_color(star.get_markerfacecolor(), "white")


@pytest.mark.parametrize(
    ("first", "second", "stairs", "arrow", "side"),
    [
        (True, True, [(1, 5), (1, 3), (3, 3), (3, 1), (5, 1)], "better ↗", "right"),
        (False, False, [(1, 1)], "↙ better", "left"),
        (True, False, [(5, 1)], "better ↘", "right"),
        (False, True, [(1, 5)], "↖ better", "left"),
    ],
)
def test_the_front_is_the_border_of_what_the_grid_dominates(
    first: bool, second: bool, stairs: list[tuple[float, float]], arrow: str, side: str
) -> None:
    (axes,) = drawn(trade_off_front(by_hand(first, second)))
    assert points(axes, FRONT) == stairs
    assert axes.get_title(loc=side) == arrow  # type: ignore[arg-type]


def test_the_front_goes_round_the_outer_corners_where_lower_is_better() -> None:
    found = by_hand()
    low = replace(
        found,
        tasks=tasks("a", "b", metric="loss", higher=False),
        models=tuple(one for one in found.models if one.test != {"a": 1.0, "b": 1.0}),
    )
    (axes,) = drawn(trade_off_front(low))
    assert points(axes, FRONT) == [(5, 1), (5, 3), (3, 3), (3, 5), (1, 5)]


def test_single_task_models_are_lines_at_their_own_tasks_metric() -> None:
    found = comparison()
    (axes, *_) = drawn(trade_off_front(found))
    values = {one.label: next(iter(one.test.values())) for one in found.models if one.label.endswith("alone")}
    dashed = [line for line in axes.lines if line.get_label() == ALONE or line.get_label() == "_"]
    upright, level = dashed
    assert np.asarray(upright.get_xdata()).tolist() == [values["pay alone"]] * 2
    assert np.asarray(level.get_ydata()).tolist() == [values["amount alone"]] * 2


def test_the_legend_names_each_kind_once() -> None:
    figure = trade_off_front(comparison())
    expected = [ALONE, GRID, FRONT, GRID_CHOSEN, "equal weights", "famo", "torchjd:UPGrad", SWEEP, STAR]
    assert labels(figure) == expected
    (axes, *_) = drawn(figure)
    looks = {(one(axes, name).get_marker(), one(axes, name).get_color()) for name in expected[4:7]}
    assert len(looks) == 3


def test_a_broken_guarantee_is_in_the_legend() -> None:
    assert BROKEN_STAR in labels(trade_off_front(comparison(guarantee="broken")))
    assert STAR not in labels(trade_off_front(comparison(guarantee="broken")))


@pytest.mark.parametrize("found", [comparison(), comparison(limit=None, lead=-0.02), without(comparison(), "grid")])
def test_the_title_is_the_headlines(found: Comparison) -> None:
    assert trade_off_front(found).get_suptitle().replace("\n", " ") == headline(found).front


def test_of_many_tasks_the_first_is_drawn_against_the_next_and_the_legend_says_so() -> None:
    names = [f"t{index}" for index in range(9)]
    figure = trade_off_front(comparison(names))
    assert [axes.get_ylabel().split(":")[0] for axes in drawn(figure)] == names[1 : MOST_PANELS + 1]
    assert {axes.get_xlabel().split(":")[0] for axes in drawn(figure)} == {"t0"}
    note = figure.legends[0].get_title().get_text()
    assert note == "Drawn of 9 tasks: t0 against each of the next 6. Dominance in the title counts all 9."
    assert trade_off_front(comparison()).legends[0].get_title().get_text() == ""


def test_one_task_is_a_line_of_points() -> None:
    (axes,) = drawn(trade_off_front(comparison(["only"])))
    assert axes.get_title(loc="right") == "better →"
    assert {y for _, y in points(axes, GRID)} == {0.0}
    assert len(points(axes, SWEEP)) == 8


def test_models_without_a_metric_are_not_drawn() -> None:
    (axes, _, other) = drawn(trade_off_front(with_nan(comparison())))
    assert len(points(axes, GRID)) == 18
    assert len(points(other, GRID)) == 20


def test_no_task_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        trade_off_front(replace(comparison(), tasks=()))
