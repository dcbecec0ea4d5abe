"""Held-out losses and outputs of finished models, example by example, for paired comparisons."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from nmt.trainers.evaluation.outputs import SplitOutputs
from nmt.trainers.evaluation.paired import PairedDifference
from nmt.trainers.losses.samples import Samples
from nmt.trainers.store.stage_store import StageStore, StoredOutputs, StoredReferences

MAX_BYTES = 256_000_000
"""Most memory for what was read recently."""

_Stored = TypeVar("_Stored", StoredReferences, StoredOutputs)


class HeldOut:
    """Reads samples and outputs of stages from the storage, and keeps recent ones in memory.

    Args:
        store: Store of the finished stages.
    """

    def __init__(self, store: StageStore) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str], tuple[StoredReferences | StoredOutputs, int]] = OrderedDict()
        self._differences: dict[tuple[str, str, tuple[str, ...]], tuple[float, float]] = {}

    def samples(self, key: str, task: str, split: str = "valid") -> Samples:
        """Return a task's samples at the accepted θ* of a stage, shape ``(examples,)``.

        Raises:
            DamagedError: The stage's file is missing or damaged.
            KeyError: The stage's model was not evaluated for this task.
        """
        stored = self._read("references", key, self._store.references)
        return Samples(stored.sums[split][task], stored.counts[split][task])

    def outputs(self, key: str, task: str, split: str = "valid") -> SplitOutputs:
        """Return a task's outputs at the accepted θ* of a stage, on all rows of a split.

        Raises:
            DamagedError: The stage's file is missing or damaged.
            KeyError: The stage's model was not evaluated for this task.
        """
        stored = self._read("outputs", key, self._store.outputs)
        output, label = stored.outputs[split][task], stored.labels[split][task]
        return SplitOutputs({task: output}, {task: label}, stored.lengths.get(split))

    def difference(self, candidate: str, reference: str, task: str, split: str = "valid") -> PairedDifference:
        """Return the paired difference in a task's loss between two stages' models."""
        return PairedDifference.between(self.samples(candidate, task, split), self.samples(reference, task, split))

    def level_difference(self, candidate: str, reference: str, tasks: Sequence[str]) -> tuple[float, float]:
        r"""Return the paired difference in the summed validation losses of a level's tasks, and its standard error.

        With :math:`z_e = \sum_i (d_{ei} - D_i n_{ei}) / N_i` over the level's tasks i and E examples,
        :math:`SE^2 = \frac{E}{E - 1} \sum_e z_e^2`. For one task this is
        :class:`~nmt.trainers.evaluation.paired.PairedDifference`.
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

    def _read(self, kind: str, key: str, read: Callable[[str], _Stored]) -> _Stored:
        place = kind, key
        if place not in self._kept:
            stored = read(key)
            self._kept[place] = stored, _size(stored)
            while sum(size for _, size in self._kept.values()) > MAX_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place][0]  # type: ignore[return-value]


def _size(stored: StoredReferences | StoredOutputs) -> int:
    parts = (stored.sums, stored.counts) if isinstance(stored, StoredReferences) else (stored.outputs, stored.labels)
    return sum(_bytes_of(tasks) for part in parts for tasks in part.values())


def _bytes_of(tasks: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tasks.values())
