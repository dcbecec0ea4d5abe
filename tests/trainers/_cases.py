"""Multipliers and losses drawn at random, for what holds for any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from nmt import Multipliers
from nmt.trainers.multipliers import Violation

deterministic = settings(deadline=None, derandomize=True, max_examples=60)

few = settings(deterministic, max_examples=20)

violation_kinds: st.SearchStrategy[Violation] = st.sampled_from(["absolute", "relative"])

LARGEST = 1e4
"""Largest loss; differences and weighted sums of losses are exact to about 1e-16 of it."""

ROUNDING = 1e-12 * LARGEST

losses = st.floats(-LARGEST, LARGEST)

factors = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)


@dataclass(frozen=True)
class Case:
    """Arguments of multipliers, as lists, and losses of some steps.

    Attributes:
        optima: L*, one per protected task; none is 0.
        tolerance: ε, one each.
        initial: λ_0, one each.
        rate: η_λ.
        violation: Kind of violation.
        objectives: Tasks of the objective's level.
        losses: One row per step, protected tasks first.
    """

    optima: list[float]
    tolerance: list[float]
    initial: list[float]
    rate: float
    violation: Violation
    objectives: int
    losses: list[list[float]]

    def multipliers(self, order: Sequence[int] | None = None) -> Multipliers:
        """Of the protected tasks in another order."""
        order = range(len(self.optima)) if order is None else order
        return Multipliers(
            [self.optima[i] for i in order],
            rate=self.rate,
            tolerance=[self.tolerance[i] for i in order],
            initial=[self.initial[i] for i in order],
            names=[f"task {i}" for i in order],
            violation=self.violation,
        )

    def rows(self) -> Tensor:
        return torch.tensor(self.losses, dtype=torch.float64)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    protected, objectives = draw(st.integers(0, 5)), draw(st.integers(1, 4))
    some, positive = st.floats(1e-3, 1e3), st.floats(0, 1e3)
    row = st.lists(losses, min_size=protected + objectives, max_size=protected + objectives)
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=protected, max_size=protected))
    return Case(
        optima=[sign * draw(some) for sign in signs],
        tolerance=[draw(positive) for _ in signs],
        initial=[draw(positive) for _ in signs],
        rate=draw(some),
        violation=draw(violation_kinds),
        objectives=objectives,
        losses=draw(st.lists(row, min_size=1, max_size=6)),
    )


def weights_of(multipliers: Multipliers, row: Tensor) -> Tensor:
    """∂ combine / ∂ losses: the weights as backward applies them."""
    leaf = row.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(multipliers.combine(leaf), leaf)
    return gradient
