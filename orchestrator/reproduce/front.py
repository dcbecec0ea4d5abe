"""The paper's figure 2: what weights reach between two tasks, and where NMT stands."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from orchestrator.figures.style import (
    GREY,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    blank_figure,
    dress,
    literal,
    wrapped,
)
from orchestrator.reproduce.table import Line, StudyTable
from trainers.spec.task import Task

_WIDTH, _HEIGHT = 6.4, 4.8
_TITLE_SIZE = 10.0


def study_front(table: StudyTable, tasks: Sequence[Task]) -> Figure:
    """First task against the second: weighted arms as a line of points, arms with priorities as stars, with errors.

    Args:
        table: The study's table.
        tasks: Its tasks, by priority.

    Raises:
        ValueError: There are fewer than two tasks.
    """
    if len(tasks) < 2:
        raise ValueError(f"a trade-off needs two tasks, found {len(tasks)}")
    first, second = tasks[0].name, tasks[1].name
    figure = blank_figure(_WIDTH, _HEIGHT)
    axes = figure.add_subplot()
    dress(axes)
    weighted = [line for line in table.lines if line.held is None]
    _draw(axes, weighted, first, second, PALETTE[0], "o", "weighted sum", "-")
    for place, line in enumerate(line for line in table.lines if line.held is not None):
        _draw(axes, [line], first, second, PALETTE[1 + place % (len(PALETTE) - 1)], "*", line.arm, "")
    for line in weighted:
        at = (line.values[first].mean, line.values[second].mean)
        axes.annotate(literal(line.arm), at, xytext=(5, 4), textcoords="offset points", fontsize=SMALL_SIZE, color=GREY)
    axes.set_xlabel(literal(f"{first}: test {table.metric}"), fontsize=TEXT_SIZE, color=GREY)
    axes.set_ylabel(literal(f"{second}: test {table.metric}"), fontsize=TEXT_SIZE, color=GREY)
    title = wrapped(table.title, _TITLE_SIZE, 0.8 * _WIDTH)  # the axes begin a tenth of the width from the left
    axes.set_title(literal(title), loc="left", fontsize=_TITLE_SIZE, fontweight="bold")
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="best")
    return figure


def _draw(
    axes: object, lines: Sequence[Line], first: str, second: str, colour: str, marker: str, label: str, style: str
) -> None:
    x = [line.values[first] for line in lines]
    y = [line.values[second] for line in lines]
    axes.errorbar(  # type: ignore[attr-defined]
        [one.mean for one in x],
        [one.mean for one in y],
        xerr=[one.error for one in x],
        yerr=[one.error for one in y],
        linestyle=style,
        linewidth=1,
        marker=marker,
        markersize=14 if marker == "*" else 5,
        markeredgecolor="white" if marker == "*" else colour,
        elinewidth=0.8,
        color=colour,
        label=literal(label),
        zorder=5 if marker == "*" else 3,
    )
