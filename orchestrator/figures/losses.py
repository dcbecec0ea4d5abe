"""Figure of a chain's losses against their optima, after the paper's Fig. 3."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from nmt.orchestrator.figures.style import (
    GREY,
    INK,
    PALE,
    SMALL_SIZE,
    STEPS_LABEL,
    TEXT_SIZE,
    TITLE_SIZE,
    Span,
    blank_figure,
    escape_mathtext,
    fit_font_size,
    mark_accepted,
    mark_stages,
    set_title,
    spans,
    strokes,
    style_axes,
)
from nmt.orchestrator.summary.limits import against_limit, share_of_limit, worst_verdict
from nmt.orchestrator.summary.wording import format_values, nan_if_none
from nmt.trainers.records import Candidate, StageRecord, Verdict

MOST_PANELS = 12
"""Most tasks that have a panel each; more are drawn as one strip per task."""

MOST_ZOOMED = 3
"""Most tasks with an enlarged panel of the allowed excess, which is often a hundredth of the loss."""

MOST_POINTS = 300
"""Most points of a stage's minibatch losses; where there are more rows, neighbours are averaged."""

TRAIN = "minibatch loss (train)"
OPTIMUM = "optimum L* (train)"
VALID = "validation loss"
UNSOLVED = "validation loss before its stage"
FEASIBLE = "feasible candidate"
INFEASIBLE = "infeasible candidate"
ACCEPTED = "accepted candidate"
BEYOND = "beyond the enlarged range"
OPTIMUM_VALID = "optimum L* (valid)"
ALLOWED = "allowed on valid, L* + ε + s·SE"

Floats = NDArray[np.float64]

_BANDS = (-1.0, 0.0, 1.0, 2.0)
_BAND_COLOURS = ("#2C7FB8", "#A6CEE3", "#EFEFE6", "#FDAE61", "#B2182B")
_BAND_NAMES = (
    "below its optimum by more than the allowed excess",
    "below its optimum",
    "within the allowed excess: feasible",
    "up to twice the allowed excess",
    "more than twice the allowed excess",
)
_SOLVING = "#B8B8B8"


def losses_against_optima(records: Sequence[StageRecord]) -> Figure:
    r"""Draw every task's loss over the optimisation steps of the whole chain, with its optimum and its limit.

    Up to :data:`MOST_PANELS` tasks have a panel each: minibatch losses, every candidate's validation loss and, from
    the accepted step on, the optimum L* on train, with which the multipliers compare, and on valid, with which the
    acceptance rule compares up to the allowed excess ε + s·SE. More tasks have one row each in a strip, coloured by the
    excess over the valid optimum as a share of the allowed excess.

    Args:
        records: Records of a chain's stages, in order.

    Raises:
        ValueError: ``records`` is empty.
    """
    stages = spans(records)
    tasks = [task for record in records for task in record.level]
    return _draw_panels(tasks, stages) if len(tasks) <= MOST_PANELS else _draw_strip(tasks, stages)


def _draw_panels(tasks: Sequence[str], stages: Sequence[Span]) -> Figure:
    columns = 1 if len(tasks) <= MOST_ZOOMED else 2 if len(tasks) <= 6 else 3
    rows = -(-len(tasks) // columns)
    zoomed = [task for task in tasks if task in stages[-1].record.protected] if columns == 1 else []
    widths = [6.6, 3.4] if zoomed else [9.0] if columns == 1 else [12.0 / columns] * columns
    figure = blank_figure(sum(widths), 2.4 * rows + 1.0)
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    look = strokes([span.record for span in stages])
    for axes in grid.flat[len(tasks) :] if not zoomed else grid[len(zoomed) :, 1]:
        axes.set_axis_off()
    for task, axes in zip(tasks, grid[:, 0] if zoomed else grid.flat, strict=False):
        _draw_history(axes, task, stages, look[task].colour)
        mark_stages(axes, stages, 0.9 * widths[0])
        title = _takeaway(task, stages)
        if fit_font_size(title, TEXT_SIZE, 0.95 * widths[0]) < SMALL_SIZE:
            title = title.replace("; ", "\n")
        set_title(axes, title, 0.95 * widths[0], TEXT_SIZE + 1)
    for task, axes in zip(zoomed, grid[:, -1], strict=False):
        _draw_zoom(axes, task, stages, look[task].colour)
    for column in grid.T:
        lowest = [axes for axes in column if axes.axison][-1]
        lowest.set_xlabel(STEPS_LABEL, fontsize=TEXT_SIZE, color=GREY)
    for axes in grid[:, 0]:
        axes.set_ylabel("loss (nats)", fontsize=TEXT_SIZE, color=GREY)
    headline = _headline(stages)
    size = fit_font_size(headline, TITLE_SIZE + 1, 0.97 * sum(widths))
    figure.suptitle(escape_mathtext(headline), x=0.01, ha="left", fontsize=size, fontweight="bold", color=INK)
    found: dict[str, Artist] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    _draw_legend(figure, [found[label] for label in _LEGEND if label in found], columns=5 if sum(widths) > 9 else 4)
    return figure


_LEGEND = (TRAIN, OPTIMUM, VALID, OPTIMUM_VALID, UNSOLVED, ALLOWED, FEASIBLE, INFEASIBLE, ACCEPTED, BEYOND)


def _draw_history(axes: Axes, task: str, stages: Sequence[Span], colour: str) -> None:
    style_axes(axes)
    own = next(span for span in stages if task in span.record.level)
    later = [span for span in stages if span.start >= own.start]
    steps, losses = _minibatches(task, stages)
    axes.plot(steps, losses, color=colour, alpha=0.35, linewidth=0.8, zorder=2, label=TRAIN)
    for span in stages:
        x = [span.start + candidate.step for candidate in span.record.candidates]
        y = [nan_if_none(candidate.losses.get(task)) for candidate in span.record.candidates]
        solved = span in later
        axes.plot(x, y, color=colour if solved else PALE, linewidth=1, zorder=3, label=VALID if solved else UNSOLVED)
    _draw_candidates(axes, task, later, colour)
    _draw_optima(axes, task, own, stages[-1].end)
    _draw_band(axes, task, later, colour)
    _set_limits(axes, task, later, losses)


def _minibatches(task: str, stages: Sequence[Span]) -> tuple[Floats, Floats]:
    """Return steps and losses, averaged over blocks of rows, with a NaN where a stage ends."""
    steps: list[Floats] = []
    losses: list[Floats] = []
    for span in stages:
        rows = [row for row in span.record.rows if task in row.losses]
        if not rows:
            continue
        values = np.array([nan_if_none(row.losses[task]) for row in rows])
        ends = np.array([span.start + row.step for row in rows], dtype=np.float64)
        block = -(-len(rows) // MOST_POINTS)
        starts = np.arange(0, len(rows), block)
        counts = np.diff(np.append(starts, len(rows)))
        steps += [np.add.reduceat(ends, starts) / counts, np.array([np.nan])]
        losses += [np.add.reduceat(values, starts) / counts, np.array([np.nan])]
    return (np.concatenate(steps), np.concatenate(losses)) if steps else (np.zeros(0), np.zeros(0))


def _draw_candidates(axes: Axes, task: str, stages: Sequence[Span], colour: str) -> None:
    """Draw a marker per candidate, from the task's own stage on."""
    kinds: dict[str, list[tuple[float, float]]] = {FEASIBLE: [], INFEASIBLE: [], ACCEPTED: []}
    for span in stages:
        for candidate in span.record.candidates:
            accepted = candidate.accepted and candidate.step == span.record.accepted_step
            kind = ACCEPTED if accepted else FEASIBLE if candidate.feasible else INFEASIBLE
            kinds[kind].append((span.start + candidate.step, nan_if_none(candidate.losses.get(task))))
    most = sum(len(points) for points in kinds.values())
    size = 4.5 if most <= 60 else 3.0
    for kind, points in kinds.items():
        if points:
            axes.plot(
                *zip(*points, strict=True),
                linestyle="",
                marker="*" if kind == ACCEPTED else "o",
                markersize=12 if kind == ACCEPTED else size,
                markerfacecolor="white" if kind == INFEASIBLE else colour,
                markeredgecolor=INK if kind == ACCEPTED else colour,
                markeredgewidth=0.7,
                clip_on=kind != ACCEPTED,
                zorder=5 if kind == ACCEPTED else 4,
                label=kind,
            )


def _draw_optima(axes: Axes, task: str, own: Span, end: int) -> None:
    optimum = next((optimum for optimum in own.record.optima if optimum.task == task), None)
    if optimum is None:
        return
    for value, dashes, label in ((optimum.train, "--", OPTIMUM), (optimum.valid, ":", OPTIMUM_VALID)):
        height = nan_if_none(value)
        if math.isfinite(height) and end > own.accepted:
            axes.plot(
                [own.accepted, end], [height, height], color=INK, linestyle=dashes, linewidth=1, zorder=3, label=label
            )


def _draw_band(axes: Axes, task: str, stages: Sequence[Span], colour: str) -> None:
    """Draw the allowed excess at each candidate, which widens with the standard error."""
    for span in stages:
        judged = _verdicts_on(task, span)
        if not judged:
            continue
        axes.fill_between(
            [_at(span, candidate) for candidate, _ in judged],
            [nan_if_none(verdict.optimum) for _, verdict in judged],
            [nan_if_none(verdict.optimum) + nan_if_none(verdict.allowed) for _, verdict in judged],
            color=colour,
            alpha=0.25,
            linewidth=0,
            zorder=1,
            label=ALLOWED,
        )


def _set_limits(axes: Axes, task: str, stages: Sequence[Span], losses: Floats) -> None:
    """Set limits that show every candidate from the task's own stage on, and most of the minibatches."""
    heights = [nan_if_none(candidate.losses.get(task)) for span in stages for candidate in span.record.candidates]
    finite = losses[np.isfinite(losses)]
    if finite.size:
        heights += np.percentile(finite, [2, 98]).tolist()
    known = [height for height in heights if math.isfinite(height)]
    if known and max(known) > min(known):
        margin = 0.08 * (max(known) - min(known))
        axes.set_ylim(min(known) - margin, max(known) + margin)


def _draw_zoom(axes: Axes, task: str, stages: Sequence[Span], colour: str) -> None:
    """Draw the paired difference that the acceptance rule tests, and its limit; outliers are drawn at the edge."""
    style_axes(axes)
    later = [span for span in stages if task in span.record.protected]
    mark_stages(axes, later, 3.0)
    set_title(axes, "enlarged: validation loss − L*", 3.0, TEXT_SIZE)
    reach = _reach(task, later)
    axes.set_ylim(-reach, reach)
    axes.axhline(0, color=INK, linestyle=":", linewidth=1)
    for span in later:
        judged = _verdicts_on(task, span)
        limits = [nan_if_none(verdict.allowed) for _, verdict in judged]
        axes.fill_between([_at(span, one) for one, _ in judged], 0, limits, color=colour, alpha=0.25, linewidth=0)
        for candidate, verdict in judged:
            difference = nan_if_none(verdict.difference)
            if not math.isfinite(difference):
                continue
            accepted = candidate.accepted and candidate.step == span.record.accepted_step
            beyond = abs(difference) > reach
            axes.plot(
                _at(span, candidate),
                math.copysign(reach, difference) if beyond else difference,
                linestyle="",
                marker="*" if accepted else ("^" if difference > 0 else "v") if beyond else "o",
                markersize=12 if accepted else 4.5,
                markerfacecolor=colour if candidate.feasible else "white",
                markeredgecolor=INK if accepted else colour,
                markeredgewidth=0.7,
                clip_on=False,
                zorder=5 if accepted else 4,
                label=BEYOND if beyond else None,
            )


def _reach(task: str, stages: Sequence[Span]) -> float:
    """Return the half height of the enlarged panel: three times the median limit."""
    limits = sorted(
        limit
        for span in stages
        for _, verdict in _verdicts_on(task, span)
        if (limit := nan_if_none(verdict.allowed)) > 0
    )
    return 3 * limits[len(limits) // 2] if limits else 1.0


def _verdicts_on(task: str, span: Span) -> list[tuple[Candidate, Verdict]]:
    """Return a stage's candidates with their verdicts on a task that it protects."""
    return [
        (candidate, verdict)
        for candidate in span.record.candidates
        for verdict in candidate.verdicts
        if verdict.task == task
    ]


def _judgements(span: Span) -> list[tuple[int, Sequence[Verdict]]]:
    """Return step and verdicts of each candidate after the starting point."""
    return [(candidate.step, candidate.verdicts) for candidate in span.record.candidates if candidate.step > 0]


def _final_verdicts(span: Span) -> list[Verdict]:
    """Return the verdicts on the accepted model on the validation split."""
    return [verdict for verdict in span.record.verdicts if verdict.split == "valid"]


def _at(span: Span, candidate: Candidate) -> float:
    return float(span.start + candidate.step)


def _draw_legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL_SIZE + 0.5,
        frameon=False,
        labelcolor=GREY,
    )


def _takeaway(task: str, stages: Sequence[Span]) -> str:
    """Return a panel's title: the finding in words."""
    own = next(span.record for span in stages if task in span.record.level)
    verdict = stages[-1].record.verdict(task, "valid")
    idle = "" if own.gained else f"stage {own.number} gained nothing"
    if verdict is not None:
        held = f"{task} {'held' if verdict.kept else 'not held'}: {against_limit(verdict)} allowed"
        return f"{held}; {idle}" if idle else held
    if idle:
        return f"{task}: {idle}"
    first = own.candidates[0].losses.get(task) if own.candidates else None
    return f"{task}: {format_values(first, own.losses.get('valid', {}).get(task))} on valid in stage {own.number}"


def _headline(stages: Sequence[Span], separator: str = "; ") -> str:
    verdicts = [verdict for verdict in stages[-1].record.verdicts if verdict.split == "valid"]
    closest = worst_verdict(verdicts)
    if closest is None:
        return "Losses against their optima: nothing was protected"
    broken = sum(not verdict.kept for verdict in verdicts)
    if broken:
        result = f"{broken} of {len(verdicts)} guarantees broken{separator}furthest beyond its limit: "
    elif len(verdicts) <= 2:
        return f"Losses against their optima: {'the guarantee' if len(verdicts) == 1 else 'both guarantees'} held"
    else:
        result = f"all {len(verdicts)} guarantees held{separator}closest to its limit: "
    return f"Losses against their optima: {result}{closest.task} ({against_limit(closest)})"


def _draw_strip(tasks: Sequence[str], stages: Sequence[Span]) -> Figure:
    """Draw one row per task; a cell is a candidate's excess over the optimum as a share of the allowed excess.

    Where a stage has too many tasks for its record to hold all of them at every candidate, a cell shows the accepted
    model.
    """
    both = [(candidate, span) for span in stages for candidate in span.record.candidates]
    whole = all(len(candidate.verdicts) == len(_final_verdicts(span)) for candidate, span in both)
    figure = blank_figure(9.0, 1.6 + 0.125 * len(tasks))
    axes = figure.add_subplot()
    style_axes(axes)
    axes.grid(visible=False)
    place = {task: row for row, task in enumerate(tasks)}
    edges: list[float] = [0.0]
    shares: list[Floats] = []
    for span in stages:
        for step, verdicts in _judgements(span) if whole else [(span.record.steps, _final_verdicts(span))]:
            column = np.full(len(tasks), np.nan)
            for verdict in verdicts:
                most = np.nextafter(1.0, 0.0) if verdict.kept else 9.0  # exactly at the limit is within it
                column[place[verdict.task]] = np.clip(share_of_limit(verdict), -9.0, most)
            edges.append(float(span.start + step))
            shares.append(column)
        if edges[-1] < span.end:
            edges.append(float(span.end))
            shares.append(np.full(len(tasks), np.nan))
    shades, norm = ListedColormap(_BAND_COLOURS), BoundaryNorm([-10, *_BANDS, 10], len(_BAND_COLOURS))
    heights = np.arange(len(tasks) + 1) - 0.5
    axes.pcolormesh(edges, heights, np.ma.masked_invalid(np.stack(shares, axis=1)), cmap=shades, norm=norm)
    for span in stages:
        rows = [place[task] for task in span.record.level or tasks]  # the joint start minimises them all
        axes.fill_between([span.start, span.end], min(rows) - 0.5, max(rows) + 0.5, color=_SOLVING, linewidth=0)
    mark_stages(axes, stages, 7.5)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_yticks(range(len(tasks)), [escape_mathtext(task) for task in tasks], fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(STEPS_LABEL, fontsize=TEXT_SIZE, color=GREY)
    set_title(axes, _headline(stages, separator="\n"), 8.0)
    patches = [Patch(facecolor=colour, label=name) for colour, name in zip(_BAND_COLOURS, _BAND_NAMES, strict=True)]
    patches += [
        Patch(facecolor=_SOLVING, label="being minimised"),
        Patch(facecolor="white", edgecolor=PALE, label="not yet solved"),
    ]
    _draw_legend(figure, [*patches, *mark_accepted(axes, stages)], columns=3)
    return figure
