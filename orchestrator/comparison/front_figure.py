"""Figure of the trade-off between tasks: the grid's front and NMT's chosen model, after the paper's Fig. 2."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmt.orchestrator.comparison.dominance import front
from nmt.orchestrator.comparison.headline import chosen_model, headline, is_single_task, models_of, row_of
from nmt.orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison
from nmt.orchestrator.comparison.table import truncate
from nmt.orchestrator.figures.style import (
    GREY,
    INK,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    blank_figure,
    escape_mathtext,
    style_axes,
    wrap_text,
)

MOST_PAIRED = 3
"""Most tasks for which every pair has a panel; of more, the first is drawn against each of the next."""

MOST_PANELS = 6

GRID = "grid model"
FRONT = "front of the grid"
GRID_CHOSEN = "grid, chosen by priority"
SWEEP = "NMT, other learning rates"
STAR = "NMT, chosen"
BROKEN_STAR = "NMT, chosen (guarantee broken)"
ALONE = "single-task model, its own task"

_GRID_COLOUR, _STAR_COLOUR = PALETTE[0], PALETTE[1]
_OTHERS = tuple(zip("sD^vPXph", (*PALETTE[2:], *PALETTE[2:5]), strict=True))
_ARROWS = {(True, True): "better ↗", (False, True): "↖ better", (True, False): "better ↘", (False, False): "↙ better"}


def trade_off_front(comparison: Comparison) -> Figure:
    """Draw the test metrics of every model, one panel per pair of tasks.

    Up to :data:`MOST_PAIRED` tasks every pair has a panel. Beyond, the first task is drawn against each of the next, in
    :data:`MOST_PANELS` panels at most, and the legend says so. The front is the non-dominated models of the grid *in
    the two tasks of the panel*, drawn as the border of the region that they dominate; the title counts dominance over
    *all* tasks. A baseline or named method is drawn by its chosen model, a single-task model as a line at its metric.

    Raises:
        ValueError: The comparison has no task.
    """
    if not comparison.tasks:
        raise ValueError("a comparison needs at least one task, found none")
    pairs = _pairs(comparison.tasks)
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    width = 7.2 if columns == 1 else 3.5 * columns
    title = wrap_text(headline(comparison).front, TITLE_SIZE, width)
    alone = len(comparison.tasks) == 1
    heading = 0.3 * (1 + title.count("\n"))
    figure = blank_figure(width, (2.4 if alone else 3.1 * rows if columns > 1 else 4.6) + 0.9 + heading)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    for (across, up), axes in zip(pairs, grid.flat, strict=False):
        _draw_panel(axes, comparison, across, up)
    figure.suptitle(escape_mathtext(title), x=0.01, ha="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK)
    found: dict[str, Artist] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        legend = figure.legend(
            handles=list(found.values()),
            labels=[escape_mathtext(label) for label in found],
            loc="outside lower left",
            ncols=3 if columns == 1 else 4,
            fontsize=SMALL_SIZE + 0.5,
            frameon=False,
            labelcolor=INK,
            title=escape_mathtext(_omission_text(comparison.tasks, len(pairs))) or None,
            title_fontproperties={"size": TEXT_SIZE},
            alignment="left",
        )
        legend.get_title().set_color(GREY)
    return figure


Pair = tuple[ComparedTask, ComparedTask | None]
"""Tasks of a panel, across and up; ``None`` up where there is only one task."""


def _pairs(tasks: Sequence[ComparedTask]) -> list[Pair]:
    if len(tasks) == 1:
        return [(tasks[0], None)]
    if len(tasks) <= MOST_PAIRED:
        return list(itertools.combinations(tasks, 2))
    return [(tasks[0], other) for other in tasks[1 : MOST_PANELS + 1]]


def _omission_text(tasks: Sequence[ComparedTask], panels: int) -> str:
    if len(tasks) <= MOST_PAIRED:
        return ""
    drawn = f"{tasks[0].name} against each of the next {panels}"
    return f"Drawn of {len(tasks)} tasks: {drawn}. Dominance in the title counts all {len(tasks)}."


def _draw_panel(axes: Axes, comparison: Comparison, across: ComparedTask, up: ComparedTask | None) -> None:
    style_axes(axes)
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.7)
    axes.margins(0.09)
    _draw_single_task(axes, comparison, across, up)
    grid = models_of(comparison, "grid")
    _scatter(axes, GRID, grid, across, up, marker="o", markersize=3.2, alpha=0.45, color=_GRID_COLOUR, zorder=2)
    if up is not None:
        _draw_front(axes, front(grid, (across, up)), across, up)
    row = row_of(comparison, "grid")
    if row is not None and row.chosen is not None:
        look: dict[str, Any] = {"markerfacecolor": _GRID_COLOUR, "markeredgecolor": INK, "markeredgewidth": 0.8}
        _scatter(axes, GRID_CHOSEN, [row.chosen], across, up, marker="o", markersize=6.5, zorder=5, **look)
    others = [
        (one.name, one.chosen)
        for one in comparison.rows
        if one.source in ("baseline", "method")
        and one.chosen is not None
        and not is_single_task(one.chosen, comparison)
    ]
    for (name, model), (marker, colour) in zip(others, itertools.cycle(_OTHERS), strict=False):
        _scatter(axes, name, [model], across, up, marker=marker, markersize=6.5, color=colour, zorder=4)
    star = chosen_model(comparison)
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": _STAR_COLOUR, "markeredgewidth": 0.9}
    sweep = [model for model in models_of(comparison, "sweep") if model != star]
    _scatter(axes, SWEEP, sweep, across, up, marker="*", markersize=8, zorder=6, **hollow)
    if star is not None:
        filled: dict[str, Any] = {"markerfacecolor": _STAR_COLOUR, "markeredgecolor": INK, "markeredgewidth": 0.8}
        name = BROKEN_STAR if star.guarantee == "broken" else STAR
        _scatter(axes, name, [star], across, up, marker="*", markersize=17, zorder=7, **filled)
    axes.set_xlabel(_axis_label(across), fontsize=TEXT_SIZE, color=INK)
    if up is None:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.5, 4.5)
    else:
        axes.set_ylabel(_axis_label(up), fontsize=TEXT_SIZE, color=INK)
    axes.locator_params(axis="both" if up is not None else "x", nbins=5)
    right = across.higher_is_better
    arrow = _ARROWS[right, up.higher_is_better] if up is not None else "better →" if right else "← better"
    axes.set_title(arrow, loc="right" if right else "left", fontsize=TEXT_SIZE, color=GREY, pad=4)


def _scatter(
    axes: Axes,
    label: str,
    models: Iterable[ComparedModel],
    across: ComparedTask,
    up: ComparedTask | None,
    **look: Any,
) -> None:
    """Draw markers at the models that have both metrics; with only one task, one row of markers per kind."""
    height = {"o": 0.0, "*": 4.0}.get(look["marker"], 2.0)
    points = [(_metric(model, across), height if up is None else _metric(model, up)) for model in models]
    points = [point for point in points if all(map(math.isfinite, point))]
    if points:
        axes.plot(*zip(*points, strict=True), linestyle="", label=label, **look)


def _draw_front(axes: Axes, models: Sequence[ComparedModel], across: ComparedTask, up: ComparedTask) -> None:
    """Draw the border of the region that the front dominates."""
    towards = sorted(
        ((_metric(model, across), _metric(model, up)) for model in models), reverse=not across.higher_is_better
    )
    if not towards:
        return
    x, y = [towards[0][0]], [towards[0][1]]
    for right, down in towards[1:]:
        x += [x[-1], right]
        y += [down, down]
    axes.plot(x, y, color=_GRID_COLOUR, linewidth=1.2, zorder=3, label=FRONT)


def _draw_single_task(axes: Axes, comparison: Comparison, across: ComparedTask, up: ComparedTask | None) -> None:
    label = ALONE
    for model in models_of(comparison, "baseline"):
        if not is_single_task(model, comparison):
            continue
        for task, draw in ((across, axes.axvline), (up, axes.axhline)):
            if task is not None and math.isfinite(value := _metric(model, task)):
                draw(value, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=1, label=label)
                label = "_"  # once in the legend


def _metric(model: ComparedModel, task: ComparedTask) -> float:
    return model.test.get(task.name, math.nan)


def _axis_label(task: ComparedTask) -> str:
    return escape_mathtext(f"{truncate(task.name, 28)}: test {task.metric}")
