"""Per-example losses and outputs of a model, on their way from the workers to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.evaluation.outputs import gather_outputs
from nmt.trainers.spec.task import Task
from nmt.trainers.store.stage_store import StoredOutputs, StoredReferences
from nmt.trainers.workers.process_group import interleave_on_first_worker

SPLITS = ("train", "valid", "test")
HELD_OUT = ("valid", "test")


def gathered_references(
    evaluations: Mapping[str, Evaluation], level: Sequence[Task], protected: Sequence[Task], feed: Feed
) -> StoredReferences:
    """All workers' samples, on the first worker; of no task on the others. Every worker calls this.

    Of the level's tasks they are what later stages are measured against; of the protected ones given, held-out samples
    only, they serve to compare this stage's model with another's. A feed that cannot find a training example again
    has no use for the training split's.
    """
    sums: dict[str, dict[str, Tensor]] = {}
    counts: dict[str, dict[str, Tensor]] = {}
    for split in SPLITS:
        if split == "train" and not feed.shards_train_by_index:
            continue
        sums[split], counts[split] = {}, {}
        for task in level if split == "train" else (*protected, *level):
            local = evaluations[split].local_of(task.name)
            both = interleave_on_first_worker(torch.stack(list(local), 1), feed.examples(split))
            if both is not None:
                sums[split][task.name], counts[split][task.name] = both[:, 0].clone(), both[:, 1].clone()
    return StoredReferences(sums, counts)


def gathered_outputs(evaluations: Mapping[str, Evaluation], tasks: Sequence[Task]) -> StoredOutputs:
    """All workers' outputs of some tasks on the held-out splits, on the first worker; none on the others."""
    names = [task.name for task in tasks]
    found = StoredOutputs({}, {}, {})
    for split in HELD_OUT:
        local = evaluations[split].outputs
        assert local is not None
        gathered = gather_outputs(local, names)
        if gathered is not None:
            found = StoredOutputs(
                {**found.outputs, split: gathered.outputs},
                {**found.labels, split: gathered.labels},
                found.lengths if gathered.lengths is None else {**found.lengths, split: gathered.lengths},
            )
    return found
