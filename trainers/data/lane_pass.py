"""One streamed pass over one lane: units in random order, each of them shuffled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.trainers.data.examples import Examples, Piece
from nmt.trainers.data.lanes import Lanes
from nmt.trainers.data.split import Split, Unit


@dataclass(frozen=True)
class ShuffledUnit:
    """A shuffled unit, or a worker's share of one.

    Attributes:
        examples: The worker's examples, shuffled.
        positions: Their positions in the shuffled order of the whole unit, ascending, shape ``(examples,)``; ``None``
            when the worker holds the whole unit.
    """

    examples: Examples
    positions: NDArray[np.int64] | None = None

    def between(self, first: int, last: int) -> Piece:
        """Return the worker's examples from position ``first`` of the whole unit's shuffled order to ``last``."""
        if self.positions is not None:
            first, last = self.positions.searchsorted((first, last)).tolist()
        return Piece(self.examples, first, last)


class LanePass:
    """Yields a lane's examples step by step, and holds only the units of the current window.

    Every shuffle has its own random generator, seeded by seed, stage, epoch, lane and unit, so a pass can start at any
    step.

    Args:
        split: The split to read units from.
        lanes: How its units are assigned to lanes.
        lane: Index of the lane.
        entropy: Seed, stage and epoch.
        start: Step at which the pass starts.
        rank: This worker's rank among the workers that share the lane; it holds the examples i with i mod ``workers`` =
            ``rank``.
        workers: Number of workers that share the lane.
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
        self._units: list[Unit] = [split.units[units[i]] for i in self._permutation(0, len(units))]
        windows = lanes.windows(lane, [unit.examples for unit in self._units])
        self._position = lanes.lane_examples(lane, start)
        self._windows = deque(window for window in windows if window.high > self._position)
        self._held: dict[int, ShuffledUnit] = {}

    def steps_by_unit(self) -> dict[int, int]:
        """Return position of each unit still to be read → a step no later than the first that needs it."""
        steps: dict[int, int] = {}
        for window in self._windows:
            for part in window.parts:
                steps.setdefault(part.unit, window.step)
        return steps

    def read(self, position: int) -> ShuffledUnit:
        """Read and shuffle the unit at ``position`` of the lane.

        Raises:
            ValueError: A file is damaged.
        """
        unit = self._units[position]
        examples = self._split.read(unit, self._rank, self._workers)
        order = self._permutation(1 + position, unit.examples)
        if self._workers == 1:
            return ShuffledUnit(examples.take(order))
        lowest = (self._rank - unit.first) % self._workers
        positions = np.flatnonzero(order % self._workers == lowest)
        return ShuffledUnit(examples.take(order[positions] // self._workers), positions)

    def advance(self, position: int, units: Iterator[ShuffledUnit]) -> list[Piece]:
        """Return the worker's examples from the current position of the pass to ``position``.

        Args:
            position: Position in the lane.
            units: Yields the next units that are needed, in lane order.
        """
        pieces: list[Piece] = []
        while self._position < position:
            window = self._windows[0]
            for part in window.parts:
                if part.unit not in self._held:
                    self._held[part.unit] = next(units)
            end = min(position, window.high)
            parts = window.between(self._position, end)
            pieces += [self._held[part.unit].between(part.first, part.last) for part in parts]
            if end == window.high:
                self._windows.popleft()
                needed = {part.unit for part in self._windows[0].parts} if self._windows else ()
                self._held = {unit: content for unit, content in self._held.items() if unit in needed}
            self._position = end
        return pieces

    def _permutation(self, number: int, size: int) -> NDArray[np.int64]:
        return np.random.default_rng([*self._entropy, number]).permutation(size)
