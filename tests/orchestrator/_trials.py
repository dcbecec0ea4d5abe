"""Trials that nobody trained: their stages in a storage, with known losses of every validation example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.trial import Source, Status, Trial, TrialResult
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.store.stage_store import StageStore, StoredOutputs, StoredReferences

from . import _records

Samples = Sequence[float] | tuple[Sequence[float], Sequence[float]]
"""Losses of examples with one sample each, or sums and counts."""


def binary(name: str, **others: float) -> Task:
    return Task(name, "binary_cross_entropy", **others)  # type: ignore[arg-type]


def spec_of(*levels: Sequence[Task | str], training: Training | None = None) -> ChainSpec:
    """A chain on data that nobody has."""
    return ChainSpec(
        levels=tuple(tuple(task if isinstance(task, Task) else binary(task) for task in level) for level in levels),
        model=ModelSpec("scorer", {"units": [4]}),
        training=(training or Training(patience=None)).settle(),
        batch_size=10,
        data_fingerprint="0123",
    )


@dataclass
class Shelf:
    """A storage into which stages are put."""

    storage: str

    @property
    def stages(self) -> StageStore:
        return StageStore(self.storage)

    def stage(
        self,
        key: str,
        samples: Mapping[str, Samples],
        *,
        stage: int = 0,
        number: int | None = None,
        level: Sequence[str] | None = None,
        protected: Sequence[str] = (),
        losses: Mapping[str, float] | None = None,
        metrics: Mapping[str, float] | None = None,
        steps: int = 100,
        wall_seconds: float = 1.5,
        workers: int = 1,
        outputs: Mapping[str, Sequence[float]] | None = None,
    ) -> StageRecord:
        """Keep a stage whose model has these losses on the validation (and test) examples.

        Labels are 0 and 1 in turn. Without ``outputs`` a model ranks all of them rightly.
        """
        both = {task: _sums_and_counts(found) for task, found in samples.items()}
        means = {task: float(sums.sum() / counts.sum()) for task, (sums, counts) in both.items()} | dict(losses or {})
        record = replace(
            _records.record(
                stage,
                list(samples) if level is None else level,
                protected,
                number=number,
                losses={split: dict(means) for split in _records.SPLITS},
                metrics={split: dict(metrics or dict.fromkeys(means, 0.8)) for split in _records.SPLITS},
                steps=steps,
            ),
            key=key,
            wall_seconds=wall_seconds,
            workers=workers,
        )
        sums = {task: found[0] for task, found in both.items()}
        counts = {task: found[1] for task, found in both.items()}
        splits = ("valid", "test")
        references = StoredReferences(dict.fromkeys(splits, sums), dict.fromkeys(splits, counts))
        labels = {task: torch.arange(len(found)).remainder(2).float() for task, found in sums.items()}
        given = {task: torch.tensor(found) for task, found in (outputs or {}).items()}
        kept = StoredOutputs(
            outputs=dict.fromkeys(splits, labels | given),
            labels=dict.fromkeys(splits, labels),
            lengths={},
        )
        self.stages.write(record, {}, references, kept)
        return record

    def result(
        self,
        label: str,
        samples: Mapping[str, Samples],
        *,
        status: Status = "finished",
        source: Source = "sweep",
        losses: Mapping[str, float] | None = None,
        metrics: Mapping[str, float] | None = None,
        cost: Cost | None = None,
    ) -> TrialResult:
        """A trial of one record, kept under its label."""
        record = self.stage(label, samples, losses=losses, metrics=metrics)
        trial = Trial(label, source, spec_of(list(samples)), "nmt")
        return TrialResult(trial, (record,), cost or Cost(trials=1, stages=1, samples=1000, steps=100), status)


def _sums_and_counts(found: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    sums, counts = found if isinstance(found, tuple) else (found, [1.0] * len(found))
    return torch.tensor(sums), torch.tensor(counts)
