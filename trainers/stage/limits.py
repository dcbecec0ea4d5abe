"""The limits of solved tasks: their optima, or the live model's losses where these are tighter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nmt.trainers.evaluation.metric_difference import sign_of
from nmt.trainers.losses.samples import Samples
from nmt.trainers.records import Currency, Optimum, StageRecord
from nmt.trainers.registry import METRICS, resolve
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.protection import Protection
from nmt.trainers.store.stage_store import StoredOutputs, StoredReferences
from nmt.trainers.workers.process_group import rank, world_size


@dataclass(frozen=True)
class _Limit:
    """What one model reached for one task: worker r of W holds the examples i of a split with i mod W = r."""

    optimum: Optimum
    metric: float | None
    samples: Mapping[str, Samples]
    outputs: Mapping[str, Tensor]


class Limits:
    """What stages must not break, in this worker's hands: of every task the tightest limit so far.

    Args:
        device: Where it is used.
        accept_on: What the acceptance rule compares, and so what makes a limit tight.
    """

    def __init__(self, device: torch.device, accept_on: Currency) -> None:
        self._device = device
        self._accept_on = accept_on
        self._tightest: dict[str, _Limit] = {}
        self._live: dict[str, _Limit] = {}

    def add(
        self, record: StageRecord, stored: StoredReferences, outputs: StoredOutputs | None, tasks: Sequence[Task]
    ) -> None:
        """Take what a finished stage kept of the tasks that it solved; a tighter limit of the live model stays.

        Args:
            record: Its record.
            stored: Its references, of the splits that it kept any of.
            outputs: Its outputs, on the first worker.
            tasks: The tasks.
        """
        for name, limit in self._read(record, stored, outputs, tasks):
            live = self._live.get(name)
            self._tightest[name] = limit if live is None or self._is_tighter(name, record, limit, live) else live

    def add_live(
        self, record: StageRecord, stored: StoredReferences, outputs: StoredOutputs | None, tasks: Sequence[Task]
    ) -> None:
        """Take what the live model's evaluation kept; call it before any stage is added."""
        self._live = dict(self._read(record, stored, outputs, tasks))
        self._tightest = dict(self._live)

    def live_among(self, tasks: Sequence[Task]) -> tuple[str, ...]:
        """Names of the tasks whose limit is the live model's."""
        return tuple(task.name for task in tasks if self._live.get(task.name, False) is self._tightest[task.name])

    def protection(self, tasks: Sequence[Task]) -> Protection:
        """What a stage that protects these tasks must not break."""
        limits = [(task.name, self._tightest[task.name]) for task in tasks]
        return replace(_protection(limits), live=bool(self._live))

    def live_protection(self, tasks: Sequence[Task]) -> Protection:
        """The live model's limits alone."""
        return _protection([(task.name, self._live[task.name]) for task in tasks])

    def _read(
        self, record: StageRecord, stored: StoredReferences, outputs: StoredOutputs | None, tasks: Sequence[Task]
    ) -> list[tuple[str, _Limit]]:
        mine = slice(rank(), None, world_size())
        optima = {optimum.task: optimum for optimum in record.optima}
        return [
            (
                task.name,
                _Limit(
                    optima[task.name],
                    record.metrics["valid"].get(task.name),
                    {
                        split: Samples(
                            stored.sums[split][task.name][mine].to(self._device),
                            stored.counts[split][task.name][mine].to(self._device),
                        )
                        for split in stored.sums
                    },
                    {} if outputs is None else {split: found[task.name] for split, found in outputs.outputs.items()},
                ),
            )
            for task in tasks
        ]

    def _is_tighter(self, name: str, record: StageRecord, limit: _Limit, live: _Limit) -> bool:
        if self._accept_on == "metric" and limit.metric is not None and live.metric is not None:
            sign = sign_of(resolve("metric", record.metric_names[name], METRICS)())
            return sign * limit.metric > sign * live.metric
        return limit.optimum.valid < live.optimum.valid


def _protection(limits: Sequence[tuple[str, _Limit]]) -> Protection:
    splits = limits[0][1].samples if limits else ()
    held_out = limits[0][1].outputs if limits else ()
    return Protection(
        optima=tuple(limit.optimum for _, limit in limits),
        references={split: {name: limit.samples[split] for name, limit in limits} for split in splits},
        outputs={split: {name: limit.outputs[split] for name, limit in limits} for split in held_out},
    )
