"""The order of a streamed pass: lanes that are read in parallel, each a sequence of units.

A pass over N examples has T steps. Its units are assigned to V lanes, where V does not depend on the number of workers.
By the end of step t, lane l with n_l examples has yielded

.. math:: c_l(t) = \\lfloor n_l\\, t / T + l / V \\rfloor

of them. All lanes advance at the same relative pace and yield every example once. The offset l/V keeps the lanes from
rounding up in the same step: by Hermite's identity, lanes of equal length yield :math:`\\lfloor N t / T \\rfloor`
examples together, so global batches differ in size by only a few examples.

A lane is cut into windows, and a window yields the examples of all its units at the same relative pace. A window is as
long as a mean unit. The first window is shorter, by a different fraction in each lane. So a window starts inside a unit
and mixes the rest of that unit with the beginning of the next, and lanes read their units at different times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import accumulate, pairwise

LANE_COUNTS = (96, 48, 24, 12, 6, 4, 3, 2, 1)
"""Allowed numbers of lanes. Many divisors: when W divides V, all W workers have the same number of lanes."""


@dataclass(frozen=True)
class Part:
    """A range of a unit's examples.

    Attributes:
        unit: Position of the unit in its lane.
        first: Position of the first example in the unit.
        last: Position after the last example.
    """

    unit: int
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """A range of a lane whose parts are mixed.

    Attributes:
        step: Step that needs the first example.
        lane: Index of the lane.
        low: Position of the first example in the lane.
        high: Position after the last example.
        parts: Parts of units in the window, in the order of the units.
    """

    step: int
    lane: int
    low: int
    high: int
    parts: tuple[Part, ...]

    def between(self, low: int, high: int) -> Iterator[Part]:
        """Yield what the window contributes from position ``low`` of the lane to ``high``; no part is empty."""
        for part, first, last in zip(self.parts, self._counts(low), self._counts(high), strict=True):
            if first < last:
                yield Part(part.unit, part.first + first, part.first + last)

    def _counts(self, position: int) -> Iterator[int]:
        """Examples of each part before ``position``: the first part's share, the next part's share of the rest, ….

        Each count grows by 0 or 1 per position, and the counts add up to the number of positions.
        """
        rest, size = position - self.low, self.high - self.low
        for part in self.parts:
            length = part.last - part.first
            share = length * rest // size
            yield share
            rest -= share
            size -= length


@dataclass(frozen=True)
class Lanes:
    """Units assigned to lanes.

    Attributes:
        units: Indices of the units of each lane.
        examples: Examples of each lane.
        steps: T, steps of a pass.
    """

    units: tuple[tuple[int, ...], ...]
    examples: tuple[int, ...]
    steps: int

    def lane_examples(self, lane: int, steps: int) -> int:
        """Return c_l(``steps``), the examples that a lane yields in the first ``steps`` steps of a pass."""
        lanes = len(self.units)
        return (self.examples[lane] * steps * lanes + lane * self.steps) // (self.steps * lanes)

    def examples_in(self, steps: int) -> int:
        """Return the examples that all lanes yield in the first ``steps`` steps of a pass."""
        return sum(self.lane_examples(lane, steps) for lane in range(len(self.units)))

    def windows(self, lane: int, sizes: Sequence[int]) -> list[Window]:
        """Cut a lane into windows, in order.

        Args:
            lane: Index of the lane.
            sizes: Examples of its units, in the order of the pass.
        """
        examples, lanes = self.examples[lane], len(self.units)
        size = -(-examples // len(sizes))
        first = max(1, size * (lane + 1) // lanes)
        edges = [0, *range(first, examples, size), examples]
        starts = [0, *accumulate(sizes)]
        windows = []
        unit = 0
        for low, high in pairwise(edges):
            parts = []
            while True:
                start, end = starts[unit], starts[unit + 1]
                parts.append(Part(unit, max(low, start) - start, min(high, end) - start))
                if end > high:
                    break
                unit += 1
                if end == high:
                    break
            windows.append(Window(self._step_of(lane, low), lane, low, high, tuple(parts)))
        return windows

    def _step_of(self, lane: int, position: int) -> int:
        """Return the step that yields the example at ``position``: the first t with c_l(t + 1) > ``position``."""
        lanes = len(self.units)
        return -(-((position + 1) * lanes - lane) * self.steps // (lanes * self.examples[lane])) - 1


def assign_units(sizes: Sequence[int], max_lanes: int, steps: int) -> Lanes:
    """Assign units to lanes of about the same number of examples: the largest unit first, each to the shortest lane.

    Args:
        sizes: Examples of each unit, at least 1.
        max_lanes: Most lanes. The number of lanes is the largest of :data:`LANE_COUNTS` that exceeds neither this nor
            the number of units.
        steps: Steps of a pass.
    """
    lanes = next((count for count in LANE_COUNTS if count <= min(max_lanes, len(sizes))), 0)
    units: list[list[int]] = [[] for _ in range(lanes)]
    shortest = [(0, lane) for lane in range(lanes)]
    for unit in sorted(range(len(sizes)), key=lambda unit: -sizes[unit]):
        examples, lane = shortest[0]
        units[lane].append(unit)
        heapreplace(shortest, (examples + sizes[unit], lane))
    totals = {lane: examples for examples, lane in shortest}
    return Lanes(tuple(map(tuple, units)), tuple(totals[lane] for lane in range(lanes)), steps)
