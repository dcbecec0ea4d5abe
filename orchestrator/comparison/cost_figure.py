"""Figure of samples against the number of tasks: NMT grows linearly, a grid exponentially."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from nmt.orchestrator.comparison.numerals import count_text, times_text
from nmt.orchestrator.comparison.results import CostPoint
from nmt.orchestrator.figures.style import (
    GREY,
    INK,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    blank_figure,
    escape_mathtext,
    fit_font_size,
    spread,
    style_axes,
)

MEASURED = "measured: trained and counted"
PREDICTED = "predicted"
BOUND = "predicted, at most"

MOST_TICKS = 12
"""Numbers of tasks up to which each has a tick of its own; beyond, markers are smaller too."""

_WIDTH, _HEIGHT = 9.0, 4.4
_LABEL_GAP = 0.12
_COLOURS = (PALETTE[1], PALETTE[0], *PALETTE[2:])  # NMT and the grid as in the trade-off front


def cost_against_tasks(costs: Sequence[CostPoint], *, exact: bool = True) -> Figure:
    """Draw samples of each method over the number of tasks m, on a logarithmic axis where p^m is a straight line.

    Measured points are solid and joined by solid lines; predicted points are hollow, and lines to or from them dashed.
    Where a number of tasks has both, the line goes through the measured point.

    Args:
        costs: Points of all methods; methods are drawn in the order of their first points.
        exact: Whether predictions are exact; otherwise they are labelled as upper bounds.

    Raises:
        ValueError: ``costs`` is empty.
    """
    if not costs:
        raise ValueError("a cost curve needs at least one point, found none")
    methods = list(dict.fromkeys(point.method for point in costs))
    figure = blank_figure(_WIDTH, _HEIGHT)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.set_yscale("log")
    _set_limits(axes, costs)
    ends: dict[str, CostPoint] = {}
    colours = {method: _COLOURS[index % len(_COLOURS)] for index, method in enumerate(methods)}
    size = 6.0 if len({point.tasks for point in costs}) <= MOST_TICKS else 3.5
    for method in methods:
        line = _line([point for point in costs if point.method == method])
        for before, after in itertools.pairwise(line):
            both = before.measured and after.measured
            axes.plot(
                [before.tasks, after.tasks],
                [_height(before), _height(after)],
                color=colours[method],
                linestyle="-" if both else "--",
                linewidth=1.6 if both else 1.1,
                zorder=2,
            )
        for measured in (False, True):
            some = [point for point in costs if point.method == method and point.measured == measured]
            if some:
                _draw_markers(axes, some, colours[method], size)
        ends[method] = line[-1]
    _label_ends(axes, ends, colours, "≤ " if not exact else "≈ ")
    axes.set_xlabel("number of tasks m", fontsize=TEXT_SIZE, color=GREY)
    axes.set_ylabel("samples (training examples seen)", fontsize=TEXT_SIZE, color=GREY)
    title = _takeaway(costs, exact)
    axes.set_title(
        escape_mathtext(title),
        loc="left",
        fontsize=fit_font_size(title, TITLE_SIZE, 0.95 * _WIDTH),
        color=INK,
        fontweight="bold",
    )
    _draw_legend(axes, costs, size, exact)
    return figure


def _line(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Return one point per number of tasks, in order, the measured one where there are two."""
    best: dict[int, CostPoint] = {}
    for point in sorted(points, key=lambda point: (point.tasks, not point.measured)):
        best.setdefault(point.tasks, point)
    return list(best.values())


def _height(point: CostPoint) -> float:
    return float(max(1, point.samples))


def _draw_markers(axes: Axes, points: Sequence[CostPoint], colour: str, size: float) -> None:
    measured = points[0].measured
    axes.plot(
        [point.tasks for point in points],
        [_height(point) for point in points],
        linestyle="",
        marker="o",
        markersize=size,
        markerfacecolor=colour if measured else "white",
        markeredgecolor=colour,
        markeredgewidth=1.1,
        zorder=4 if measured else 3,
        label=f"{points[0].method}, {MEASURED if measured else PREDICTED}",
        clip_on=False,
    )


def _set_limits(axes: Axes, costs: Sequence[CostPoint]) -> None:
    tasks = sorted({point.tasks for point in costs})
    axes.set_xlim(tasks[0] - 0.5, tasks[-1] + (0.5 if len(tasks) == 1 else 0.02 * (tasks[-1] - tasks[0])))
    axes.xaxis.set_major_locator(
        FixedLocator(tasks)
        if len(tasks) <= MOST_TICKS
        else MaxNLocator(nbins=MOST_TICKS, integer=True, steps=[1, 2, 4, 5, 8, 10])
    )
    low = math.floor(math.log10(min(_height(point) for point in costs)))
    high = math.ceil(math.log10(max(_height(point) for point in costs)) + 1e-9)
    axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _label_ends(axes: Axes, ends: dict[str, CostPoint], colours: dict[str, str], prefix: str) -> None:
    """Write name and samples of each method to the right of its last point."""
    to_share = axes.transScale + axes.transLimits
    heights = [float(to_share.transform((0.0, _height(end)))[1]) for end in ends.values()]
    places = spread(heights, _LABEL_GAP)
    beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "zorder": 1}
    for (method, end), height, place in zip(ends.items(), heights, places, strict=True):
        left = float(to_share.transform((end.tasks, 1.0))[0])
        axes.plot([left, 1.01, 1.03], [height, height, place], color=colours[method], linewidth=0.6, **beside)
        known = "" if end.measured else prefix
        axes.text(
            1.035,
            place,
            escape_mathtext(f"{method}\n{known}{count_text(end.samples)} at m = {end.tasks}"),
            va="center",
            fontsize=TEXT_SIZE,
            linespacing=1.15,
            color=colours[method],
            transform=axes.transAxes,
            clip_on=False,
        )


def _takeaway(costs: Sequence[CostPoint], exact: bool) -> str:
    """Return the ratio of the costliest method to the first, at the largest number of tasks that both have."""
    first = costs[0].method
    own = {point.tasks: point for point in _line([point for point in costs if point.method == first])}
    others = [point for point in costs if point.method != first and point.tasks in own]
    if not others or own[max(point.tasks for point in others)].samples == 0:
        return "Samples against the number of tasks"
    most = max(point.tasks for point in others)
    rivals = [point for point in others if point.tasks == most]
    other = max(rivals, key=lambda point: (point.samples, point.measured))
    ratio = times_text(other.samples, own[most].samples)
    known = "measured" if other.measured and own[most].measured else "predicted" if exact else "predicted, upper bounds"
    tasks = "1 task" if most == 1 else f"{most} tasks"
    return f"At {tasks}: {other.method} takes {ratio} times the samples of {first} ({known})"


def _draw_legend(axes: Axes, costs: Sequence[CostPoint], size: float, exact: bool) -> None:
    look: dict[str, Any] = {"color": GREY, "marker": "o", "markersize": size}
    handles = []
    if any(point.measured for point in costs):
        handles.append(Line2D([], [], linestyle="-", label=MEASURED, **look))
    if not all(point.measured for point in costs):
        handles.append(
            Line2D([], [], linestyle="--", markerfacecolor="white", label=PREDICTED if exact else BOUND, **look)
        )
    axes.legend(
        handles=handles, loc="upper left", fontsize=SMALL_SIZE + 0.5, frameon=False, labelcolor=GREY, handlelength=3.2
    )
