"""Figure of a chain's multipliers over its optimisation steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmt.orchestrator.figures.style import (
    GREY,
    PALE,
    SMALL_SIZE,
    STEPS_LABEL,
    TEXT_SIZE,
    Span,
    Stroke,
    blank_figure,
    escape_mathtext,
    mark_accepted,
    mark_stages,
    set_title,
    spans,
    spread,
    strokes,
    style_axes,
)
from nmt.orchestrator.summary.wording import format_multiplier, level_name, nan_if_none
from nmt.trainers.records import StageRecord

MOST_NAMED = 6
"""Most lines with a colour and a name; the others are grey."""

MOST_POINTS = 1500
"""Most points of a line; more could not be told apart."""

WIDE = 30.0
"""Ratio of the largest λ to the lowest tenth above which the axis is logarithmic."""

_WIDTH, _HEIGHT = 9.0, 4.2
_LABEL_GAP = 0.055


def multiplier_trajectory(records: Sequence[StageRecord]) -> Figure:
    r"""Draw λ of every protected task over the optimisation steps of the whole chain.

    λ_i starts anew in each stage, so its line has a gap between stages. Where a stage has too many tasks for its record
    to follow them all, only the final value of each stage is drawn. λ_i is the shadow price of task i: how much the
    stage's objective would fall per unit of additional tolerance. The tasks with the largest final λ have colour and
    name.

    Args:
        records: Records of a chain's stages, in order.

    Raises:
        ValueError: ``records`` is empty.
    """
    stages = spans(records)
    figure = blank_figure(_WIDTH, _HEIGHT)
    axes = figure.add_subplot()
    style_axes(axes)
    mark_stages(axes, stages, 0.8 * _WIDTH)
    axes.set_xlabel(STEPS_LABEL, fontsize=TEXT_SIZE, color=GREY)
    whole = all(len(row.multipliers) == len(record.protected) for record in records for row in record.rows)
    label = "multiplier λ" if whole else "multiplier λ at the end of the stage"
    axes.set_ylabel(label, fontsize=TEXT_SIZE, color=GREY)
    lines = {task: (_line if whole else _ends)(task, stages) for task in records[-1].protected}
    if not lines:
        set_title(axes, "Multipliers: none, the chain protects nothing", 0.85 * _WIDTH)
        axes.set_yticks([])
        return figure
    set_title(axes, _takeaway(records[-1]), 0.85 * _WIDTH)
    last = {task: _last(values) for task, (_, values) in lines.items()}
    by_size = sorted(lines, key=lambda task: last[task], reverse=True)
    coloured = by_size[: MOST_NAMED + 1] if len(lines) == MOST_NAMED + 1 else by_size[:MOST_NAMED]
    look = strokes(records)
    for task in reversed(by_size):
        has_name = task in coloured
        axes.plot(
            *lines[task],
            color=look[task].colour if has_name else PALE,
            linestyle=look[task].dashes if has_name else "-",
            linewidth=1.5 if has_name else 0.6,
            zorder=3 if has_name else 2,
            label=f"λ {task}",
        )
    _set_scale(axes, [max(filter(math.isfinite, values), default=0.0) for _, values in lines.values()])
    axes.legend(
        handles=mark_accepted(axes, stages), loc="upper left", fontsize=SMALL_SIZE, frameon=False, labelcolor=GREY
    )
    _label_ends(
        axes, {task: last[task] for task in coloured if math.isfinite(last[task])}, look, len(lines) - len(coloured)
    )
    return figure


def _ends(task: str, stages: Sequence[Span]) -> tuple[list[float], list[float]]:
    """Return steps and λ at the end of each stage that protects the task."""
    held = [span for span in stages if task in span.record.multipliers]
    return [float(span.end) for span in held], [nan_if_none(span.record.multipliers[task]) for span in held]


def _line(task: str, stages: Sequence[Span]) -> tuple[list[float], list[float]]:
    """Return steps and λ, with a NaN where a stage ends."""
    points = sum(len(span.record.rows) for span in stages if task in span.record.protected)
    stride = max(1, -(-points // MOST_POINTS))
    steps: list[float] = []
    values: list[float] = []
    for span in stages:
        record = span.record
        if task not in record.protected:
            continue
        rows = record.rows[::stride]
        steps += [span.start + row.step for row in rows]
        values += [nan_if_none(row.multipliers.get(task)) for row in rows]
        if task in record.multipliers and (not rows or rows[-1].step < record.steps):
            steps.append(span.end)
            values.append(nan_if_none(record.multipliers[task]))
        steps.append(math.nan)
        values.append(math.nan)
    return steps, values


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), -math.inf)


def _takeaway(last: StageRecord) -> str:
    prices = {task: nan_if_none(value) for task, value in last.multipliers.items()}
    known = {task: value for task, value in prices.items() if math.isfinite(value)}
    if not known:
        return "Multipliers λ of the protected tasks"
    dearest = max(known, key=lambda task: known[task])
    objective = level_name(last.level)
    if known[dearest] == 0:
        return f"Multipliers: all at 0, nothing holds {objective} back"
    most = " most" if len(known) > 1 else ""
    return f"Multipliers: {dearest} holds {objective} back{most}, λ = {format_multiplier(known[dearest])} at the end"


def _set_scale(axes: Axes, peaks: Sequence[float]) -> None:
    """Set a logarithmic scale, linear around 0, where the largest lines would flatten the others."""
    positive = sorted(peak for peak in peaks if peak > 0)
    if positive and positive[-1] > WIDE * (typical := positive[len(positive) // 10]):
        threshold = 10 ** math.floor(math.log10(max(typical, positive[-1] / 1000)))
        axes.set_yscale("symlog", linthresh=threshold, linscale=0.6)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=0)


def _label_ends(axes: Axes, ends: dict[str, float], look: dict[str, Stroke], others: int) -> None:
    """Write name and last λ of each coloured line to the right of its end, and the number of the other lines."""
    to_share = axes.transScale + axes.transLimits
    heights = [float(to_share.transform((0.0, end))[1]) for end in ends.values()]
    places = spread(heights, _LABEL_GAP)
    beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for (task, end), height, place in zip(ends.items(), heights, places, strict=True):
        stroke = look[task]
        axes.plot([1, 1.03], [height, place], color=stroke.colour, linestyle=stroke.dashes, linewidth=1, **beside)
        axes.text(
            1.035,
            place,
            escape_mathtext(f"{task}  {format_multiplier(end)}"),
            va="center",
            fontsize=TEXT_SIZE,
            color=stroke.colour,
            **beside,
        )
    if others:
        height = min(places, default=0.1) - 1.2 * _LABEL_GAP
        axes.text(1.035, height, f"{others} more, smaller", va="center", fontsize=SMALL_SIZE, color=GREY, **beside)
