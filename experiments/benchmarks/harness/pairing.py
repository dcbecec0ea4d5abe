"""Measuring rivals in turn, so that the noise of the machine hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

BLOCK_SECONDS = 0.25
"""Time that a block of steps aims at: short beside the machine's slow phases, long beside a clock's tick."""


@dataclass(frozen=True)
class Timing:
    """Time per step, one value for each round.

    Attributes:
        seconds: Wall time of a step.
        processor: Processor time of a step, over all threads of this process; empty where it is not known.
    """

    seconds: tuple[float, ...]
    processor: tuple[float, ...] = ()


@dataclass(frozen=True)
class Paired:
    """A paired ratio: median and quartiles over the rounds, each of which measured both sides.

    Attributes:
        median: The median.
        lower: First quartile.
        upper: Third quartile.
    """

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, ours: tuple[float, ...], theirs: tuple[float, ...]) -> Paired:
        """Ratio of values of the same rounds.

        Raises:
            ValueError: The sides have different numbers of rounds, or none.
        """
        if len(ours) != len(theirs) or not ours:
            raise ValueError(f"both sides need the same rounds, at least one: found {len(ours)} and {len(theirs)}")
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        return cls(statistics.median(ratios), *quartiles(ratios))


def quartiles(values: list[float]) -> tuple[float, float]:
    """First and third quartile; of a single value, the value."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def measure(
    rivals: Mapping[str, Callable[[], None]],
    rounds: int,
    blocks: int,
    *,
    warm_up: int = 3,
    device: torch.device | None = None,
) -> dict[str, Timing]:
    """Time per step of each rival.

    A round is ``blocks`` blocks of each rival, in turn; who begins changes from block to block. A rival's blocks have
    as many steps as fit in :data:`BLOCK_SECONDS`, at least one, the same in every round.

    Args:
        rivals: Name → function that takes one step.
        rounds: Number of rounds.
        blocks: Blocks of each rival in a round.
        warm_up: Steps of each rival before the first round; the last of them decides the size of its blocks.
        device: Where steps run; a GPU is waited for.
    """
    sizes = {}
    for name, step in rivals.items():
        for _ in range(max(1, warm_up)):
            last = _block(step, 1, device)[0]
        sizes[name] = max(1, round(BLOCK_SECONDS / last))
    names = list(rivals)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        sums = dict.fromkeys(names, (0.0, 0.0))
        for block in range(blocks):
            first = (number + block) % len(names)
            for name in names[first:] + names[:first]:
                wall, processor = _block(rivals[name], sizes[name], device)
                sums[name] = (sums[name][0] + wall, sums[name][1] + processor)
        for name, (wall, processor) in sums.items():
            steps = blocks * sizes[name]
            found[name].append((wall / steps, processor / steps))
    return {name: Timing(tuple(w for w, _ in pairs), tuple(p for _, p in pairs)) for name, pairs in found.items()}


def _block(step: Callable[[], None], steps: int, device: torch.device | None) -> tuple[float, float]:
    _wait(device)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    _wait(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
