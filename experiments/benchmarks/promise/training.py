"""Trains the arms of one seed in this process, memoised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nmt.experiments.benchmarks.promise.arms import Arm, Variants, build_arms
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.models.build import build_model
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import NullReporter
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class Job:
    """Arms of one experiment and seed that are trained one after the other.

    Attributes:
        experiment: Name of the experiment.
        spec: Its chain.
        folder: Its prepared data.
        storage: Where stages are memoised.
        seed: The seed.
        variants: Further chains.
        arms: Names of the arms to train.
    """

    experiment: str
    spec: ChainSpec
    folder: str
    storage: str
    seed: int
    variants: Variants
    arms: Sequence[str]


def train_arms(job: Job) -> tuple[Job, dict[str, Any]]:
    """Train the arms of a job; return it with arm → what the tables need, JSON-ready."""
    torch.set_num_threads(1)
    spec = replace(job.spec, training=replace(job.spec.training, seed=job.seed))
    arms = build_arms(spec, job.variants)
    feeds: dict[tuple[str, ...], MemoryFeed] = {}
    found = {}
    for arm in (arms[name] for name in job.arms):
        labels = tuple(task.label for task in arm.spec.tasks)
        if labels not in feeds:
            feeds[labels] = MemoryFeed(job.folder, labels, spec.batch_size, job.seed)
        found[arm.name] = _summarise(arm, _train(arm.spec, feeds[labels], StageStore(job.storage)))
    return job, found


def _train(spec: ChainSpec, feed: MemoryFeed, store: StageStore) -> tuple[StageRecord, ...]:
    model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed)
    return run_chain(spec, model, feed, store, NullReporter())


def _summarise(arm: Arm, records: Sequence[StageRecord]) -> dict[str, Any]:
    last = records[-1]
    return {
        "kind": arm.kind,
        "budget": arm.budget,
        "valid": dict(last.metrics["valid"]),
        "test": dict(last.metrics["test"]),
        "valid_loss": dict(last.losses["valid"]),
        "test_loss": dict(last.losses["test"]),
        "samples": sum(record.samples for record in records),
        "steps": [record.steps for record in records],
        "accepted": [record.accepted_step for record in records],
        "ended_by": [record.ended_by for record in records],
        "multipliers": [dict(record.multipliers) for record in records],
        "held": last.held,
        "verdicts": [_verdict(verdict) for verdict in last.verdicts],
        "seconds": sum(record.wall_seconds for record in records),
    }


def _verdict(verdict: Any) -> Mapping[str, Any]:
    return {
        "task": verdict.task,
        "split": verdict.split,
        "difference": verdict.difference,
        "standard_error": verdict.standard_error,
        "held": verdict.held,
    }
