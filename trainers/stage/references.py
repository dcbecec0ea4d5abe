"""Per-example losses at the θ* of solved tasks, in the workers' hands and on their way to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.evaluation.outputs import gather_outputs
from nmt.trainers.losses.samples import Samples
from nmt.trainers.spec.task import Task
from nmt.trainers.store.stage_store import StoredOutputs, StoredReferences
from nmt.trainers.workers.process_group import interleave_on_first_worker, rank, world_size

SPLITS = ("train", "valid", "test")
HELD_OUT = ("valid", "test")


class StageReferences:
    """This worker's reference samples of all tasks solved so far: split → task → samples.

    Worker r of W holds the examples i of a split with i mod W = r, as feeds do.

    Args:
        device: Where they are used.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.samples: dict[str, dict[str, Samples]] = {split: {} for split in SPLITS}
        self.outputs: dict[str, dict[str, Tensor]] = {split: {} for split in HELD_OUT}

    def add(self, stored: StoredReferences, outputs: StoredOutputs | None, level: Sequence[Task]) -> None:
        """Take this worker's part of what a finished stage kept, of the splits that it kept any of.

        Args:
            stored: Its references.
            outputs: Its outputs, on the first worker.
            level: Tasks that it solved.
        """
        if outputs is not None:
            for split in HELD_OUT:
                self.outputs[split] |= {task.name: outputs.outputs[split][task.name] for task in level}
        mine = slice(rank(), None, world_size())
        for split in stored.sums:
            for task in level:
                self.samples[split][task.name] = Samples(
                    stored.sums[split][task.name][mine].to(self._device),
                    stored.counts[split][task.name][mine].to(self._device),
                )


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
