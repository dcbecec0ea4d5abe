"""A chain: one stage per level, in order of priority, each found under its key or trained."""

from __future__ import annotations

import time

import torch
from torch import nn

from trainers.chain_spec import ChainSpec
from trainers.data.feed import Feed
from trainers.evaluation import Evaluation
from trainers.losses.samples import Samples
from trainers.losses.task_losses import TaskLosses
from trainers.process_group import from_first_worker, interleave_on_first_worker, rank, world_size
from trainers.protection import Protection
from trainers.records import Optimum, StageRecord
from trainers.reporter import Reporter, StageFinished, StageStarted
from trainers.stage import StageResult, run_stage
from trainers.stage_store import StageStore, StoredReferences
from trainers.task import Level, Task

REFERENCE_SPLITS = ("train", "valid", "test")


def run_chain(
    spec: ChainSpec, model: nn.Module, feed: Feed, store: StageStore, reporter: Reporter
) -> tuple[StageRecord, ...]:
    """Run all stages inside the present worker group; every worker calls this.

    Args:
        spec: What to compute.
        model: Initial parameters, the same on every worker, on the device to train on.
        feed: This worker's data.
        store: Where finished stages are found and kept.
        reporter: Where events go; called on the first worker only.

    Returns:
        The records of all stages, on every worker.
    """
    losses = TaskLosses(spec.tasks)
    keys = spec.stage_keys()
    records: list[StageRecord] = []
    references: dict[str, dict[str, Samples]] = {split: {} for split in REFERENCE_SPLITS}
    for stage, (level, key) in enumerate(zip(spec.levels, keys, strict=True)):
        record = from_first_worker(store.read(key) if rank() == 0 else None)
        reused = record is not None
        if record is None:
            protection = Protection(
                tasks=spec.protected(stage),
                optima=tuple(optimum for earlier in records for optimum in earlier.optima),
                references=references if stage else {},
            )
            record = _train(
                spec, stage, key, keys[stage - 1] if stage else None, model, feed, store, reporter, losses, protection
            )
        else:
            model.load_state_dict(store.state(key))
        _add_references(references, store.references(key), level, next(model.parameters()).device)
        records.append(record)
        if rank() == 0:
            reporter.report(StageFinished(record, reused))
    return tuple(records)


def _train(
    spec: ChainSpec,
    stage: int,
    key: str,
    parent: str | None,
    model: nn.Module,
    feed: Feed,
    store: StageStore,
    reporter: Reporter,
    losses: TaskLosses,
    protection: Protection,
) -> StageRecord:
    level = spec.levels[stage]
    started = time.monotonic()
    names = tuple(task.name for task in level)
    held = tuple(task.name for task in protection.tasks)
    speaker: Reporter = reporter if rank() == 0 else _Mute()
    speaker.report(StageStarted(stage, key, names, held, spec.training.max_epochs * feed.steps_per_epoch()))
    # A stage is a function of its key alone: what dropout draws must not depend on the stages run before it.
    torch.manual_seed(hash((spec.training.seed, stage, rank())))
    result = run_stage(model, feed, stage, level, protection, losses, spec.training, speaker)
    record = _record(spec, stage, key, parent, level, held, result, feed, time.monotonic() - started)
    record = from_first_worker(record)
    stored = _gather(result.evaluations, level, feed)
    if rank() == 0:
        store.write(record, model.state_dict(), stored)
    from_first_worker(None)  # nobody reads the stage before it is written
    return record


class _Mute:
    def report(self, event: object) -> None: ...


def _record(
    spec: ChainSpec,
    stage: int,
    key: str,
    parent: str | None,
    level: Level,
    held: tuple[str, ...],
    result: StageResult,
    feed: Feed,
    seconds: float,
) -> StageRecord:
    train, valid = result.evaluations["train"], result.evaluations["valid"]
    return StageRecord(
        key=key,
        parent=parent,
        stage=stage,
        level=tuple(task.name for task in level),
        protected=held,
        optima=tuple(
            Optimum(t.name, train.losses[t.name], train.samples[t.name], valid.losses[t.name], valid.samples[t.name])
            for t in level
        ),
        verdicts=result.verdicts,
        multipliers=result.multipliers,
        losses={split: evaluation.losses for split, evaluation in result.evaluations.items()},
        metrics={split: evaluation.metrics for split, evaluation in result.evaluations.items()},
        metric_names={task.name: task.metric for task in spec.tasks},
        accepted_step=result.accepted_step,
        steps=result.steps,
        samples=result.samples,
        steps_per_epoch=feed.steps_per_epoch(),
        ended_by=result.ended_by,
        wall_seconds=seconds,
        workers=world_size(),
        candidates=result.candidates,
        rows=tuple(result.history.rows),
        certificate=result.certificate,
    )


def _gather(evaluations: dict[str, Evaluation] | object, level: Level, feed: Feed) -> StoredReferences:
    assert isinstance(evaluations, dict)
    sums: dict[str, dict[str, torch.Tensor]] = {}
    counts: dict[str, dict[str, torch.Tensor]] = {}
    for split in REFERENCE_SPLITS:
        sums[split], counts[split] = {}, {}
        for task in level:
            local = evaluations[split].local_of(task.name)
            both = interleave_on_first_worker(torch.stack(list(local), 1), feed.examples(split))
            if both is not None:
                sums[split][task.name], counts[split][task.name] = both[:, 0].clone(), both[:, 1].clone()
    return StoredReferences(sums, counts)


def _add_references(
    references: dict[str, dict[str, Samples]], stored: StoredReferences, level: tuple[Task, ...], device: torch.device
) -> None:
    """Take this worker's part of a finished stage's reference losses."""
    mine = slice(rank(), None, world_size())
    for split in REFERENCE_SPLITS:
        for task in level:
            references[split][task.name] = Samples(
                stored.sums[split][task.name][mine].to(device), stored.counts[split][task.name][mine].to(device)
            )
