"""One lane of one streamed pass: its units in random order, each of them shuffled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.data.examples import Examples, Piece
from trainers.data.lanes import Lanes
from trainers.data.split import Split, Unit


@dataclass(frozen=True)
class ShuffledUnit:
    """A unit in random order, or what a worker holds of it.

    Attributes:
        examples: The worker's examples, shuffled.
        places: Their places in the random order of the whole unit, ascending, shape ``(examples,)``; ``None`` when the
            worker holds all of it.
    """

    examples: Examples
    places: NDArray[np.int64] | None = None

    def between(self, first: int, last: int) -> Piece:
        """The worker's examples among those from one place of the whole unit's order to another."""
        if self.places is not None:
            first, last = self.places.searchsorted((first, last)).tolist()
        return Piece(self.examples, first, last)


class LanePass:
    """Gives a lane's examples step by step, and holds the units of the present window alone.

    Every unit has a random generator of its own, seeded by what it shuffles: a pass may begin at any step.

    Args:
        split: Where units are read.
        lanes: How its units are dealt.
        lane: Which lane.
        entropy: Seed, stage and epoch.
        start: Step at which the pass begins.
        rank: This worker's rank among those that share the lane; it holds the examples i with i mod ``workers`` =
            ``rank``.
        workers: Workers that share the lane.
    """

    def __init__(
        self,
        split: Split,
        lanes: Lanes,
        lane: int,
        entropy: Sequence[int],
        start: int = 0,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self._split = split
        self._entropy = (*entropy, lane)
        self._rank = rank
        self._workers = workers
        units = lanes.units[lane]
        self._units: list[Unit] = [split.units[units[place]] for place in self._permutation(0, len(units))]
        windows = lanes.windows(lane, [unit.examples for unit in self._units])
        self._place = lanes.seen(lane, start)
        self._windows = deque(window for window in windows if window.high > self._place)
        self._held: dict[int, ShuffledUnit] = {}

    def needs(self) -> dict[int, int]:
        """Place in the lane of each unit that is not read yet → the step that needs it, or an earlier one."""
        steps: dict[int, int] = {}
        for window in self._windows:
            for part in window.parts:
                steps.setdefault(part.unit, window.step)
        return steps

    def read(self, place: int) -> ShuffledUnit:
        """The unit at a place of the lane.

        Raises:
            ValueError: A file is damaged.
        """
        unit = self._units[place]
        examples = self._split.read(unit, self._rank, self._workers)
        order = self._permutation(1 + place, unit.examples)
        if self._workers == 1:
            return ShuffledUnit(examples.take(order))
        lowest = (self._rank - unit.first) % self._workers
        places = np.flatnonzero(order % self._workers == lowest)
        return ShuffledUnit(examples.take(order[places] // self._workers), places)

    def advance(self, place: int, units: Iterator[ShuffledUnit]) -> list[Piece]:
        """The worker's examples from where the pass stands to ``place``.

        Args:
            place: Place in the lane.
            units: Yields the units that are needed next, in the order of their places.
        """
        found: list[Piece] = []
        while self._place < place:
            window = self._windows[0]
            for part in window.parts:
                if part.unit not in self._held:
                    self._held[part.unit] = next(units)
            end = min(place, window.high)
            given = window.between(self._place, end)
            found += [self._held[part.unit].between(part.first, part.last) for part in given]
            if end == window.high:
                self._windows.popleft()
                still = {part.unit for part in self._windows[0].parts} if self._windows else ()
                self._held = {unit: content for unit, content in self._held.items() if unit in still}
            self._place = end
        return found

    def _permutation(self, number: int, size: int) -> NDArray[np.int64]:
        return np.random.default_rng([*self._entropy, number]).permutation(size)
