"""The order of a streamed pass: lanes that are read side by side, each a sequence of units that run into each other.

A pass over N examples has T steps. Its units are dealt to V lanes, V independent of the number of workers; lane l with
n_l examples has given

.. math:: c_l(t) = \\lfloor n_l\\, t / T + l / V \\rfloor

of them by the end of step t: all lanes keep pace, every example is given once, and by Hermite's identity lanes of equal
length give :math:`\\lfloor N t / T \\rfloor` together, so that global batches differ by few examples. (Without l/V,
lanes would all round up in the same step.)

A lane is cut into windows, and gives the examples of all the units in a window at the same pace. A window has the size
of a mean unit; the first one is shorter, by another share in each lane: a window begins within a unit and mixes its
rest with the beginning of the next one, and lanes read their units at different times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import accumulate, pairwise

NUMBERS = (96, 48, 24, 12, 6, 4, 3, 2, 1)
"""Numbers of lanes, all with many divisors: W workers that divide V have the same number of lanes each."""


@dataclass(frozen=True)
class Part:
    """A stretch of a unit.

    Attributes:
        unit: Place of the unit in its lane.
        first: Its first example, counted from the beginning of the unit.
        last: Behind its last example.
    """

    unit: int
    first: int
    last: int


@dataclass(frozen=True)
class Window:
    """A stretch of a lane that mixes parts of units.

    Attributes:
        step: Step that needs its first example.
        lane: Number of the lane.
        low: Place in the lane of its first example.
        high: Place behind its last one.
        parts: What it is made of, in the order of the units.
    """

    step: int
    lane: int
    low: int
    high: int
    parts: tuple[Part, ...]

    def between(self, low: int, high: int) -> Iterator[Part]:
        """What the window gives from one place of the lane to another; no part is empty."""
        for part, first, last in zip(self.parts, self._given(low), self._given(high), strict=True):
            if first < last:
                yield Part(part.unit, part.first + first, part.first + last)

    def _given(self, place: int) -> Iterator[int]:
        """Examples of each part before ``place``: of the first its share, of the next its share of the rest, …

        Each grows by 0 or 1 with the place, and together they are as many as there are places.
        """
        given, size = place - self.low, self.high - self.low
        for part in self.parts:
            length = part.last - part.first
            share = length * given // size
            yield share
            given -= share
            size -= length


@dataclass(frozen=True)
class Lanes:
    """Units dealt to lanes.

    Attributes:
        units: Numbers of the units of each lane.
        examples: Examples of each lane.
        steps: T, steps of a pass.
    """

    units: tuple[tuple[int, ...], ...]
    examples: tuple[int, ...]
    steps: int

    def seen(self, lane: int, step: int) -> int:
        """Examples that a lane has given in the first ``step`` steps of a pass."""
        lanes = len(self.units)
        return (self.examples[lane] * step * lanes + lane * self.steps) // (self.steps * lanes)

    def examples_in(self, step: int) -> int:
        """Examples that all lanes have given in the first ``step`` steps of a pass."""
        return sum(self.seen(lane, step) for lane in range(len(self.units)))

    def windows(self, lane: int, sizes: Sequence[int]) -> list[Window]:
        """Windows of a lane, in order.

        Args:
            lane: The lane.
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

    def _step_of(self, lane: int, place: int) -> int:
        """The step that gives the example at a place: the first t with c(t + 1) > place."""
        lanes = len(self.units)
        return -(-((place + 1) * lanes - lane) * self.steps // (lanes * self.examples[lane])) - 1


def deal(sizes: Sequence[int], most: int, steps: int) -> Lanes:
    """Deal units to lanes of about the same number of examples: the largest first, each to the shortest lane.

    Args:
        sizes: Examples of each unit, at least 1.
        most: Most lanes; the largest of :data:`NUMBERS` that is not more, and not more than there are units, is taken.
        steps: Steps of a pass.
    """
    lanes = next((number for number in NUMBERS if number <= min(most, len(sizes))), 0)
    units: list[list[int]] = [[] for _ in range(lanes)]
    shortest = [(0, lane) for lane in range(lanes)]
    for unit in sorted(range(len(sizes)), key=lambda unit: -sizes[unit]):
        examples, lane = shortest[0]
        units[lane].append(unit)
        heapreplace(shortest, (examples + sizes[unit], lane))
    totals = {lane: examples for examples, lane in shortest}
    return Lanes(tuple(map(tuple, units)), tuple(totals[lane] for lane in range(lanes)), steps)
