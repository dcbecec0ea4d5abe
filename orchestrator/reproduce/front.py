"""The paper's figure 2: the trade-off between two tasks, for loss weights and for NMT."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmt.orchestrator.figures.style import (
    GREY,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    blank_figure,
    escape_mathtext,
    style_axes,
    wrap_text,
)
from nmt.orchestrator.reproduce.table import Line, StudyTable
from nmt.trainers.spec.task import Task

_WIDTH, _HEIGHT = 6.4, 4.8
_TITLE_SIZE = 10.0


def study_front(table: StudyTable, tasks: Sequence[Task]) -> Figure:
    """Draw the first task against the second: weighted arms as a line, arms with priorities as stars, with errors.

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
    style_axes(axes)
    weighted = [line for line in table.lines if line.held is None]
    _draw(axes, weighted, first, second, PALETTE[0], "o", "weighted sum", "-")
    for place, line in enumerate(line for line in table.lines if line.held is not None):
        _draw(axes, [line], first, second, PALETTE[1 + place % (len(PALETTE) - 1)], "*", line.arm, "")
    for line in weighted:
        at = (line.values[first].mean, line.values[second].mean)
        axes.annotate(
            escape_mathtext(line.arm), at, xytext=(5, 4), textcoords="offset points", fontsize=SMALL_SIZE, color=GREY
        )
    axes.set_xlabel(escape_mathtext(f"{first}: test {table.metric}"), fontsize=TEXT_SIZE, color=GREY)
    axes.set_ylabel(escape_mathtext(f"{second}: test {table.metric}"), fontsize=TEXT_SIZE, color=GREY)
    title = wrap_text(table.title, _TITLE_SIZE, 0.8 * _WIDTH)  # the axes begin a tenth of the width from the left
    axes.set_title(escape_mathtext(title), loc="left", fontsize=_TITLE_SIZE, fontweight="bold")
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="best")
    return figure


def _draw(
    axes: Axes, lines: Sequence[Line], first: str, second: str, colour: str, marker: str, label: str, style: str
) -> None:
    x = [line.values[first] for line in lines]
    y = [line.values[second] for line in lines]
    axes.errorbar(
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
        label=escape_mathtext(label),
        zorder=5 if marker == "*" else 3,
    )
