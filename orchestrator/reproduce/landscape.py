r"""The paper's figure 1: a weighted sum and NMT on a two-dimensional landscape with a known answer.

.. math:: L_1 = x^2, \qquad L_2 = (x - 1)^2 + (y - 2)^2

The first task has its optimum, 0, on the whole line x = 0. With tolerance ε the constrained optimum of the second is
:math:`x = \sqrt\varepsilon`, :math:`y = 2`, with :math:`\lambda = 1/\sqrt\varepsilon - 1`. A sum with weights w ends
at :math:`x = w_2 / (w_1 + w_2)`, at any cost to the first task.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nmt.orchestrator.figures.style import (
    GREY,
    INK,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    blank_figure,
    escape_mathtext,
    style_axes,
)
from nmt.trainers.multipliers import Multipliers

TITLE = "Figure 1: a weighted sum and NMT on two losses"
START = (-0.9, -0.6)
TOLERANCE = 0.04
WEIGHTS = (0.5, 0.5)
ETA_THETA, ETA_LAMBDA = 0.05, 1.0
STEPS = 600

Path = list[tuple[float, float]]


@dataclass(frozen=True)
class Landscape:
    """Trajectories of both methods.

    Attributes:
        weighted: Points of the weighted sum.
        first: Points of NMT's first stage, on L₁ alone.
        second: Points of its second stage, on L₂ with L₁ as the constraint.
        multiplier: Final λ.
    """

    weighted: Path
    first: Path
    second: Path
    multiplier: float


def losses(point: Tensor) -> Tensor:
    """Return L₁ and L₂ at a point of shape ``(2,)``, as shape ``(2,)``."""
    x, y = point.unbind()
    return torch.stack([x**2, (x - 1) ** 2 + (y - 2) ** 2])


def descend() -> Landscape:
    """Compute both trajectories by plain gradient descent from :data:`START`."""
    weights = torch.tensor(WEIGHTS)
    weighted = _path(START, lambda values: weights @ values, lambda _: None)
    first = _path(START, lambda values: values[0], lambda _: None)
    multipliers = Multipliers([0.0], rate=ETA_LAMBDA, tolerance=TOLERANCE, initial=0.0)
    second = _path(first[-1], multipliers.combine, lambda values: multipliers.ascend(values))
    return Landscape(weighted, first, second, float(multipliers.values[0]))


def landscape_figure(found: Landscape, title: str) -> Figure:
    """Draw contours of both losses, the feasible set of the first task, and both trajectories."""
    figure = blank_figure(6.4, 5.6)
    axes = figure.add_subplot()
    style_axes(axes)
    x, y = np.meshgrid(np.linspace(-1.2, 1.4, 200), np.linspace(-1.0, 2.6, 200))
    axes.contour(x, y, (x - 1) ** 2 + (y - 2) ** 2, levels=12, colors="#C9D8E6", linewidths=0.7)
    axes.contour(x, y, x**2, levels=8, colors="#E6D3C9", linewidths=0.7)
    edge = math.sqrt(TOLERANCE)
    axes.axvspan(-edge, edge, color=PALETTE[2], alpha=0.12, linewidth=0, label="first task within its tolerance")
    for path, colour, label in (
        (found.weighted, PALETTE[0], f"weighted sum {WEIGHTS[0]:g} : {WEIGHTS[1]:g}"),
        (found.first, PALETTE[4], "NMT, stage 1: the first task alone"),
        (found.second, PALETTE[1], f"NMT, stage 2: the first task held, λ → {found.multiplier:.2f}"),
    ):
        axes.plot(*zip(*path, strict=True), color=colour, linewidth=1.8, label=escape_mathtext(label))
        axes.plot(*path[-1], marker="*" if colour == PALETTE[1] else "o", color=colour, markersize=10)
    axes.plot(*START, marker="o", color=INK, markersize=5)
    axes.annotate("start", START, xytext=(-4, -12), textcoords="offset points", fontsize=SMALL_SIZE, color=GREY)
    axes.set_xlabel("x", fontsize=TEXT_SIZE, color=GREY)
    axes.set_ylabel("y", fontsize=TEXT_SIZE, color=GREY)
    axes.set_title(escape_mathtext(title), loc="left", fontsize=9.5, fontweight="bold")
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="lower right")
    return figure


def _path(start: tuple[float, float], objective: Callable[[Tensor], Tensor], after: Callable[[Tensor], object]) -> Path:
    point = torch.tensor(start, requires_grad=True)
    path = [start]
    for _ in range(STEPS):
        values = losses(point)
        (gradient,) = torch.autograd.grad(objective(values), point)
        with torch.no_grad():
            point -= ETA_THETA * gradient
        after(values.detach())
        x, y = point.tolist()
        path.append((x, y))
    return path
