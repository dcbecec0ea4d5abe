"""Samples against the number of tasks: solid points were counted, hollow points are predicted."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from nmt.orchestrator.comparison.cost_figure import BOUND, MEASURED, PREDICTED, cost_against_tasks
from nmt.orchestrator.comparison.results import CostPoint
from tests.orchestrator._comparison import costs

Point = tuple[float, float]


def marks(axes: Axes, method: str) -> tuple[list[Point], list[Point]]:
    """Return the solid and the hollow points of a method."""
    solid: list[Point] = []
    hollow: list[Point] = []
    for line in axes.lines:
        if line.get_marker() == "o" and str(line.get_label()).startswith(f"{method}, "):
            into = hollow if same_color(line.get_markerfacecolor(), "white") else solid
            into += zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True)
    return solid, hollow


def segments(axes: Axes, colour: str) -> list[tuple[float, float, str]]:
    """Return the lines between neighbours: from, to, style."""
    return [
        (*np.asarray(line.get_xdata()).tolist(), str(line.get_linestyle()))
        for line in axes.lines
        if line.get_marker() == "None"
        and line.get_transform() == axes.transData
        and same_color(line.get_color(), colour)
    ]


def colour_of(axes: Axes, method: str) -> str:
    line = next(line for line in axes.lines if str(line.get_label()).startswith(f"{method}, "))
    return str(line.get_markeredgecolor())


def rendered(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    return stream.getvalue()


@pytest.mark.parametrize(
    "points",
    [
        costs(3, 5, 8),
        costs(64, 10, 64),
        costs(1, 5, 1),
        [CostPoint("NMT", 3, 9, 0, True)],
        [CostPoint("$n_1$", 2, 9, 10, False), CostPoint("<b>", 40, 9, 10, False)],
    ],
    ids=["eight", "64", "one", "zero", "odd"],
)
def test_every_curve_can_be_drawn(points: Sequence[CostPoint]) -> None:
    assert rendered(cost_against_tasks(points)).startswith(b"\x89PNG")


def test_measured_points_are_solid_and_predicted_ones_hollow() -> None:
    (axes,) = cost_against_tasks(costs(2, 5, 4)).axes
    solid, hollow = marks(axes, "grid, p = 5")
    assert solid == [(1, 5e5), (2, 25e5)]
    assert hollow == [(3, 125e5), (4, 625e5)]
    assert marks(axes, "NMT") == ([(1, 9e5), (2, 18e5)], [(3, 27e5), (4, 36e5)])
    assert axes.get_yscale() == "log"


def test_a_line_is_solid_only_between_two_measured_points() -> None:
    (axes,) = cost_against_tasks(costs(2, 5, 4)).axes
    assert segments(axes, colour_of(axes, "NMT")) == [(1, 2, "-"), (2, 3, "--"), (3, 4, "--")]


def test_the_line_goes_through_the_measured_point_where_there_are_both() -> None:
    points = [
        CostPoint("NMT", 1, 1, 100, True),
        CostPoint("NMT", 2, 1, 250, False),
        CostPoint("NMT", 2, 1, 200, True),
    ]
    (axes,) = cost_against_tasks(points).axes
    assert segments(axes, colour_of(axes, "NMT")) == [(1, 2, "-")]
    assert marks(axes, "NMT") == ([(1, 100), (2, 200)], [(2, 250)])
    (name,) = [text.get_text() for text in axes.texts]
    assert name == "NMT\n200 at m = 2"


def test_ends_carry_name_and_samples_and_predictions_their_sign() -> None:
    (axes,) = cost_against_tasks(costs(2, 5, 4)).axes
    assert [text.get_text() for text in axes.texts] == [
        "NMT\n≈ 3,600,000 at m = 4",
        "grid, p = 5\n≈ 62,500,000 at m = 4",
    ]
    (axes,) = cost_against_tasks(costs(2, 5, 4), exact=False).axes
    assert axes.texts[0].get_text() == "NMT\n≤ 3,600,000 at m = 4"


def test_the_legend_explains_solid_and_dashed() -> None:
    def legend(figure: Figure) -> list[str]:
        found = figure.axes[0].get_legend()
        assert found is not None
        return [text.get_text() for text in found.get_texts()]

    assert legend(cost_against_tasks(costs(2, 5, 4))) == [MEASURED, PREDICTED]
    assert legend(cost_against_tasks(costs(2, 5, 4), exact=False)) == [MEASURED, BOUND]
    assert legend(cost_against_tasks(costs(2, 5, 2))) == [MEASURED]


@pytest.mark.parametrize("most", [1, 3, 12, 13, 64])
def test_ticks_are_whole_numbers_of_tasks(most: int) -> None:
    figure = cost_against_tasks(costs(most, 5, most))
    rendered(figure)
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(float(tick).is_integer() for tick in ticks)
    if most <= 12:
        assert ticks == list(range(1, most + 1))


@pytest.mark.parametrize(
    ("points", "exact", "title"),
    [
        (costs(3, 5, 3), True, "At 3 tasks: grid, p = 5 takes 4.6 times the samples of NMT (measured)"),
        (costs(3, 5, 8), True, "At 8 tasks: grid, p = 5 takes 5,430 times the samples of NMT (predicted)"),
        (costs(2, 9, 3), False, "At 3 tasks: grid, p = 9 takes 27 times the samples of NMT (predicted, upper bounds)"),
        (costs(1, 5, 1), True, "At 1 task: grid, p = 5 takes 0.56 times the samples of NMT (measured)"),
        (costs(3, 5, 3)[:3], True, "Samples against the number of tasks"),
    ],
)
def test_the_title_gives_the_ratio_and_how_it_is_known(points: Sequence[CostPoint], exact: bool, title: str) -> None:
    (axes,) = cost_against_tasks(points, exact=exact).axes
    assert axes.get_title(loc="left") == title


def test_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        cost_against_tasks([])
