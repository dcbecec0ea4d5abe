"""Held-out losses of finished models, example by example, for paired comparisons."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from trainers.evaluation.paired import PairedDifference
from trainers.losses.samples import Samples
from trainers.store.stage_store import StageStore

MAX_BYTES = 256_000_000
"""Most memory for samples that were read recently."""


class HeldOut:
    """Reads samples of stages from the storage, and keeps recent ones in memory.

    Args:
        store: Store of the finished stages.
        split: ``valid`` or ``test``.
    """

    def __init__(self, store: StageStore, split: str = "valid") -> None:
        self._store = store
        self._split = split
        self._kept: OrderedDict[str, dict[str, Samples]] = OrderedDict()
        self._bytes = 0
        self._differences: dict[tuple[str, str, tuple[str, ...]], tuple[float, float]] = {}

    def samples(self, key: str, task: str) -> Samples:
        """Return a task's samples at the accepted θ* of a stage, shape ``(examples,)``.

        Raises:
            DamagedError: The stage's file is missing or damaged.
            KeyError: The stage's model was not evaluated for this task.
        """
        if key not in self._kept:
            stored = self._store.references(key)
            sums, counts = stored.sums[self._split], stored.counts[self._split]
            self._kept[key] = {name: Samples(sums[name], counts[name]) for name in sums}
            self._bytes += _size(self._kept[key])
            while self._bytes > MAX_BYTES and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)
        self._kept.move_to_end(key)
        return self._kept[key][task]

    def difference(self, candidate: str, reference: str, task: str) -> PairedDifference:
        """Return the paired difference in a task's loss between two stages' models."""
        return PairedDifference.between(self.samples(candidate, task), self.samples(reference, task))

    def level_difference(self, candidate: str, reference: str, tasks: Sequence[str]) -> tuple[float, float]:
        r"""Return the paired difference in the summed losses of a level's tasks, and its standard error.

        With :math:`z_e = \sum_i (d_{ei} - D_i n_{ei}) / N_i` over the level's tasks i and E examples,
        :math:`SE^2 = \frac{E}{E - 1} \sum_e z_e^2`. For one task this is
        :class:`~trainers.evaluation.paired.PairedDifference`.
        Cached for each pair of stages: a grid asks again after each of its trials.
        """
        pair = candidate, reference, tuple(tasks)
        if pair not in self._differences:
            self._differences[pair] = self._level_difference(*pair)
        return self._differences[pair]

    def _level_difference(self, candidate: str, reference: str, tasks: Sequence[str]) -> tuple[float, float]:
        total = 0.0
        residuals: Tensor | None = None
        labelled: Tensor | None = None
        for task in tasks:
            one, other = self.samples(candidate, task), self.samples(reference, task)
            d = one.sums.double() - other.sums.double()
            n = one.counts.double()
            samples = n.sum().clamp(min=1.0)
            mean = d.sum() / samples
            total += float(mean)
            z = (d - mean * n) / samples
            residuals = z if residuals is None else residuals + z
            labelled = n > 0 if labelled is None else labelled | (n > 0)
        if residuals is None or labelled is None:
            return math.nan, math.nan
        examples = max(1, int(labelled.sum()))
        error = math.sqrt(float(residuals.square().sum()) * examples / max(1, examples - 1))
        return total, error


def _size(samples: dict[str, Samples]) -> int:
    return sum(tensor.numel() * tensor.element_size() for part in samples.values() for tensor in part)
