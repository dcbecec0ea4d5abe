"""Trials of a grid, which differ in their loss weights, and the baselines beside them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nmt.orchestrator.trials.trial import Trial, weights_text
from nmt.trainers.methods.names import WEIGHTED_SUM
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task


@dataclass(frozen=True)
class WeightGrid:
    r"""p weights for each of m tasks.

    The full grid is :math:`\{1/p, 2/p, \dots, 1\}^m`, :math:`p^m` trials. Weightings of the same proportions differ
    only in scale; the normalised grid has one of each, divided by its sum:
    :math:`\sum_{d=1}^p \mu(d) \lfloor p/d \rfloor^m` trials, with the Möbius function μ.

    Attributes:
        tasks: m, number of tasks.
        points: p, weights per task.
        normalised: Whether weightings of the same proportions are trained once.
    """

    tasks: int
    points: int
    normalised: bool = False

    @property
    def trials(self) -> int:
        """Trials of the whole grid."""
        if not self.normalised:
            return int(self.points**self.tasks)
        return sum(_moebius(d) * int((self.points // d) ** self.tasks) for d in range(1, self.points + 1))

    def all(self) -> Iterator[tuple[float, ...]]:
        """Yield every weighting."""
        for steps in itertools.product(range(1, self.points + 1), repeat=self.tasks):
            if not self.normalised or math.gcd(*steps) == 1:
                yield self._weights(steps)

    def sample(self, number: int, seed: int) -> list[tuple[float, ...]]:
        """Return ``number`` distinct weightings, drawn with a seed; all of them when the grid has no more."""
        if number >= self.trials:
            return list(self.all())
        draw = random.Random(seed)
        chosen: dict[tuple[int, ...], None] = {}
        while len(chosen) < number:
            steps = tuple(draw.randint(1, self.points) for _ in range(self.tasks))
            if not self.normalised or math.gcd(*steps) == 1:
                chosen[steps] = None
        return [self._weights(steps) for steps in chosen]

    def _weights(self, steps: tuple[int, ...]) -> tuple[float, ...]:
        whole = sum(steps) if self.normalised else self.points
        return tuple(step / whole for step in steps)


def weights_trial(spec: ChainSpec, weights: tuple[float, ...]) -> Trial:
    """Return a trial with fixed weights over all tasks: model, data, steps and evaluation of the chain's stages."""
    return Trial(
        label=weights_text(weights).replace(":", " : "),
        source="grid",
        spec=_one_stage(spec, spec.tasks, weights),
        method=WEIGHTED_SUM,
        weights=weights,
    )


def baseline_trials(spec: ChainSpec, grid: WeightGrid) -> tuple[Trial, ...]:
    """Return equal weights and one single-task trial per task.

    Equal weights are a point of the grid, so they cost nothing where that point is trained.
    """
    tasks = spec.tasks
    equal = ((1.0 / len(tasks) if grid.normalised else 1.0),) * len(tasks)
    trials = [replace(weights_trial(spec, equal), label="equal weights", source="baseline", method="equal_weights")]
    for place, task in enumerate(tasks):
        only = tuple(float(place == other) for other in range(len(tasks)))
        trials.append(
            Trial(f"{task.name} alone", "baseline", _one_stage(spec, (task,), None), "single_task", weights=only)
        )
    return tuple(trials)


def _one_stage(spec: ChainSpec, tasks: tuple[Task, ...], weights: tuple[float, ...] | None) -> ChainSpec:
    training = replace(spec.training, method=WEIGHTED_SUM, weights=weights, method_options={})
    return replace(spec, levels=(tasks,), training=training, rates=None, live=None)


def _moebius(number: int) -> int:
    sign = 1
    for prime in range(2, number + 1):
        if number % prime == 0:
            number //= prime
            if number % prime == 0:
                return 0
            sign = -sign
    return sign
