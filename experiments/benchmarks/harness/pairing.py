"""Paired measurements: rivals take turns, so that the noise of the machine hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from nmt.experiments.benchmarks.harness.options import Options

BLOCK_SECONDS = 0.25
"""Target length of a block of steps: short beside slow phases of the machine, long beside a tick of the clock."""


@dataclass(frozen=True)
class Timing:
    """Time per step, one value per round.

    Attributes:
        seconds: Wall time of a step.
        processor: Processor time of a step, over all threads of this process; empty if unknown.
    """

    seconds: tuple[float, ...]
    processor: tuple[float, ...] = ()


@dataclass(frozen=True)
class Paired:
    """A ratio of two sides, paired by round.

    Attributes:
        median: Median over the rounds.
        lower: First quartile.
        upper: Third quartile.
    """

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, ours: tuple[float, ...], theirs: tuple[float, ...]) -> Paired:
        """Pair the values of the same rounds.

        Raises:
            ValueError: The sides have different numbers of rounds, or none.
        """
        if len(ours) != len(theirs) or not ours:
            raise ValueError(f"both sides need the same rounds, at least one: found {len(ours)} and {len(theirs)}")
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        return cls(statistics.median(ratios), *quartiles(ratios))


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the first and third quartile; for a single value, the value twice."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


class Side(Protocol):
    """One side of a comparison."""

    def step(self) -> None:
        """Take one step."""


def measure_sides(
    sides: Mapping[str, Side], options: Options, *, rounds: int = 9, blocks: int = 4, warm_up: int = 3
) -> dict[str, Timing]:
    """Measure the steps of each side, with the options' number of rounds and one block a round if quick.

    Args:
        sides: Name → side.
        options: Options of the benchmark.
        rounds: Number of rounds if the options leave it open.
        blocks: Blocks of each side in a round.
        warm_up: Steps of each side before the first round.
    """
    steps = {name: side.step for name, side in sides.items()}
    return measure(steps, options.rounds or rounds, 1 if options.quick else blocks, warm_up=warm_up)


def measure(
    rivals: Mapping[str, Callable[[], None]],
    rounds: int,
    blocks: int,
    *,
    warm_up: int = 3,
    device: torch.device | None = None,
) -> dict[str, Timing]:
    """Measure the time per step of each rival.

    A round has ``blocks`` blocks of each rival, in turn; the first rival changes from block to block. A rival's blocks
    all have the same number of steps: what fits in :data:`BLOCK_SECONDS`, at least one.

    Args:
        rivals: Name → function that takes one step.
        rounds: Number of rounds.
        blocks: Blocks of each rival in a round.
        warm_up: Steps of each rival before the first round; the last of them sets the size of its blocks.
        device: Device of the steps; a GPU is synchronised.
    """
    sizes = {}
    for name, step in rivals.items():
        for _ in range(max(1, warm_up)):
            last = _time_block(step, 1, device)[0]
        sizes[name] = max(1, round(BLOCK_SECONDS / last))
    names = list(rivals)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        sums = dict.fromkeys(names, (0.0, 0.0))
        for block in range(blocks):
            first = (number + block) % len(names)
            for name in names[first:] + names[:first]:
                wall, processor = _time_block(rivals[name], sizes[name], device)
                sums[name] = (sums[name][0] + wall, sums[name][1] + processor)
        for name, (wall, processor) in sums.items():
            steps = blocks * sizes[name]
            found[name].append((wall / steps, processor / steps))
    return {name: Timing(tuple(w for w, _ in pairs), tuple(p for _, p in pairs)) for name, pairs in found.items()}


def _time_block(step: Callable[[], None], steps: int, device: torch.device | None) -> tuple[float, float]:
    _synchronise(device)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    _synchronise(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _synchronise(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
