"""Style of the figures: colours, sizes, text, and the axis of a chain's consecutive stages."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nmt.orchestrator.summary.wording import level_name
from nmt.trainers.records import StageRecord

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
"""Okabe and Ito's colour-blind-safe colours without black and yellow (too pale on white), and a violet."""

DASHES = ("-", "--", ":", "-.")

INK = "#222222"
GREY = "#6B6B6B"
PALE = "#C4C4C4"
BORDER = "#9A9A9A"

TITLE_SIZE = 11.0
TEXT_SIZE = 9.0
SMALL_SIZE = 7.5

_GAP = 0.05

STEPS_LABEL = "optimisation steps"
ACCEPTED = "accepted step"
KEPT = "start kept, nothing gained"


@dataclass(frozen=True)
class Span:
    """A stage's interval on the axis of the chain's optimisation steps.

    Attributes:
        record: The stage.
        start: Number of steps of all earlier stages.
        end: ``start`` plus the stage's own steps.
    """

    record: StageRecord
    start: int
    end: int

    @property
    def accepted(self) -> int:
        """Position of the accepted candidate."""
        return self.start + self.record.accepted_step


def spans(records: Sequence[StageRecord]) -> tuple[Span, ...]:
    """Return the intervals of consecutive stages.

    Raises:
        ValueError: ``records`` is empty.
    """
    if not records:
        raise ValueError("a chain needs at least one stage, found no record")
    found: list[Span] = []
    for record in records:
        start = found[-1].end if found else 0
        found.append(Span(record, start, start + record.steps))
    return tuple(found)


@dataclass(frozen=True)
class Stroke:
    """How a task is drawn.

    Attributes:
        colour: From :data:`PALETTE`.
        dashes: Line style, by which tasks that share a colour differ.
    """

    colour: str
    dashes: str


def strokes(records: Sequence[StageRecord]) -> dict[str, Stroke]:
    """Return task → stroke, by order of priority, so that a task looks the same in every figure of a chain."""
    tasks = [task for record in records for task in record.level]
    return {
        task: Stroke(PALETTE[index % len(PALETTE)], DASHES[index // len(PALETTE) % len(DASHES)])
        for index, task in enumerate(tasks)
    }


def blank_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of ``width`` × ``height`` inches."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained", facecolor="white")


def style_axes(axes: Axes) -> None:
    """Remove frame and heavy ticks, and draw a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(BORDER)
    axes.tick_params(labelsize=SMALL_SIZE, color=BORDER, labelcolor=GREY, which="both")
    axes.grid(axis="y", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def mark_stages(axes: Axes, stages: Sequence[Span], inches: float) -> None:
    """Draw a thin line where a stage begins, and write each stage's name above the frame where there is room.

    Args:
        axes: The axes.
        stages: The chain's stages.
        inches: Approximate width of ``axes``.
    """
    first, last = stages[0].start, max(stages[-1].end, stages[0].start + 1)
    axes.set_xlim(first, last)
    thickness = 0.6 if len(stages) <= 12 else 0.3
    borders = [span.start for span in stages[1:]]
    axes.vlines(borders, 0, 1, transform=axes.get_xaxis_transform(), color=BORDER, linewidth=thickness)
    free = float("-inf")
    for span in stages:
        place = (span.start - first) / (last - first) * inches
        room = (span.end - span.start) / (last - first) * inches
        number = f"{span.record.number}"
        names = (f"stage {number}: {level_name(span.record.level)}", f"stage {number}", number)
        text = next((name for name in names if _width(name) + _GAP <= room), number)
        if place < free:
            continue
        free = place + _width(text) + _GAP
        axes.annotate(
            escape_mathtext(text),
            (span.start, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, 3),
            textcoords="offset points",
            fontsize=SMALL_SIZE,
            color=GREY,
            annotation_clip=False,
        )


def mark_accepted(axes: Axes, stages: Sequence[Span]) -> list[Line2D]:
    """Draw a star on the step axis at each stage's accepted candidate, hollow where the start was kept.

    Returns:
        Handles for a legend: the filled stars, then the hollow ones, each only if there are any.
    """
    gained = [span for span in stages if span.record.gained]
    idle = [span for span in stages if not span.record.gained]
    size = 9.0 if len(stages) <= 12 else 5.0
    drawn: list[Line2D] = []
    for some, face, label in ((gained, INK, ACCEPTED), (idle, "white", KEPT)):
        if some:
            drawn += axes.plot(
                [span.accepted for span in some],
                [0.0] * len(some),
                transform=axes.get_xaxis_transform(),
                linestyle="",
                marker="*",
                markersize=size,
                markerfacecolor=face,
                markeredgecolor=INK,
                markeredgewidth=0.6,
                clip_on=False,
                zorder=5,
                label=label,
            )
    return drawn


def set_title(axes: Axes, text: str, inches: float, size: float = TITLE_SIZE) -> None:
    """Set the title above the stages' names, in a font size that fits ``inches``."""
    size = fit_font_size(text, size, inches)
    axes.set_title(escape_mathtext(text), loc="left", fontsize=size, color=INK, fontweight="bold", pad=16)


def wrap_text(text: str, size: float, inches: float) -> str:
    """Wrap bold text into lines of about equal length, no wider than ``inches`` at this font size."""
    width = round(inches * 72 / (0.56 * size))
    lines = len(textwrap.wrap(text, width))
    even = next(some for some in range(len(text) // lines, width + 1) if len(textwrap.wrap(text, some)) <= lines)
    return textwrap.fill(text, even)


def fit_font_size(text: str, size: float, inches: float) -> float:
    """Return ``size``, or the smaller font size at which bold text is no wider than ``inches``; at least 6."""
    longest = max(len(line) for line in text.splitlines())
    return max(6.0, min(size, inches * 72 / (0.68 * longest)))


def escape_mathtext(text: str) -> str:
    """Escape dollar signs, which would begin a formula, and set a minus sign before numbers."""
    return re.sub(r"(?<!\S)(\(?)-(?=\d)", r"\1−", text).replace("$", r"\$")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights apart until neighbours are at least ``gap`` from each other, in the same order.

    Args:
        heights: Preferred heights of labels.
        gap: Smallest distance.
    """
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    # Blocks of touching labels, each as (sum of the preferred bottom heights, members), placed at the mean.
    blocks: list[tuple[float, list[int]]] = []
    for index in order:
        total, members = heights[index], [index]
        while blocks and blocks[-1][0] / len(blocks[-1][1]) + gap * len(blocks[-1][1]) > total / len(members):
            before, others = blocks.pop()
            total = before + total - gap * len(others) * len(members)
            members = others + members
        blocks.append((total, members))
    placed = [0.0] * len(heights)
    for total, members in blocks:
        for rank, index in enumerate(members):
            placed[index] = total / len(members) + gap * rank
    return placed


def _width(text: str) -> float:
    return 0.58 * len(text) * SMALL_SIZE / 72
