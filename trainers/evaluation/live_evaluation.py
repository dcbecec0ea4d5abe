"""The live model on today's data: what a finished stage would keep, by evaluation alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.references import HELD_OUT, SPLITS, gathered_outputs, gathered_references
from nmt.trainers.faults import NumericalError
from nmt.trainers.records import Optimum, StageRecord
from nmt.trainers.spec.task import Task
from nmt.trainers.store.stage_store import StoredOutputs, StoredReferences
from nmt.trainers.workers.process_group import world_size

STAGE = -1
"""Place and number of the live model's record: in front of every stage."""


def evaluate_live(
    learner: Learner, tasks: Sequence[Task], key: str
) -> tuple[StageRecord, StoredReferences, StoredOutputs]:
    """Evaluate the live model on every split, as the end of a stage does; every worker calls this.

    Args:
        learner: The live model, today's data, and the losses of all tasks of the chain.
        tasks: Tasks that it has.
        key: Key of its record.

    Raises:
        NumericalError: A loss is not finite.
    """
    feed = learner.feed
    evaluations = {
        split: evaluate(
            learner,
            split,
            mode="train" if split == "train" else "eval",
            keep_samples=split != "train" or feed.shards_train_by_index,
            keep_outputs=split in HELD_OUT,
            tasks=tasks,
        )
        for split in SPLITS
    }
    train, valid = evaluations["train"], evaluations["valid"]
    for task in tasks:
        for found in (train, valid):
            if not math.isfinite(found.losses[task.name]):
                raise NumericalError(
                    f"the live model's loss of task {task.name!r} on the {found.split} split is "
                    f"{found.losses[task.name]}; look for labels or features there that are not finite, or leave "
                    "protect out"
                )
    names = tuple(task.name for task in tasks)
    record = StageRecord(
        key=key,
        parent=None,
        stage=STAGE,
        number=STAGE,
        level=names,
        objective={},
        protected=(),
        optima=tuple(
            Optimum(name, train.losses[name], train.samples[name], valid.losses[name], valid.samples[name])
            for name in names
        ),
        verdicts=(),
        multipliers={},
        losses={split: found.losses for split, found in evaluations.items()},
        metrics={split: found.metrics for split, found in evaluations.items()},
        metric_names={task.name: task.metric for task in tasks},
        accepted_step=0,
        steps=0,
        samples=0,
        steps_per_epoch=feed.steps_per_epoch(),
        ended_by="evaluation",
        wall_seconds=0.0,
        workers=world_size(),
        candidates=(),
        rows=(),
    )
    return record, gathered_references(evaluations, tasks, (), feed), gathered_outputs(evaluations, tasks)
