"""A full pass over a split: every task's mean loss and metric, and each example's losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.frozen_buffers import frozen_buffers
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.outputs import SplitOutputs, join_outputs
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses, output_of
from nmt.trainers.metrics.compute import compute_metrics
from nmt.trainers.registry import METRICS, resolve
from nmt.trainers.spec.task import Task
from nmt.trainers.workers.process_group import sum_over_workers

Mode = Literal["train", "eval"]


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split found; the numbers are the same on every worker.

    Attributes:
        split: Which split.
        losses: Task → mean sample loss over the split, over all workers.
        samples: Task → labelled samples of the split.
        metrics: Task → metric; tasks without one, or whose metric is undefined here, are absent.
        outputs: This worker's outputs and labels, where they were kept.
        local: This worker's samples, float32, shape ``(examples of this worker, tasks)``, tasks in the order of
            ``losses``.
    """

    split: str
    losses: dict[str, float]
    samples: dict[str, int]
    metrics: dict[str, float]
    local: Samples
    outputs: SplitOutputs | None = None

    def local_of(self, task: str) -> Samples:
        """This worker's samples of one task, shape ``(examples of this worker,)``."""
        column = list(self.losses).index(task)
        return Samples(self.local.sums[:, column], self.local.counts[:, column])


@torch.no_grad()
def evaluate(
    learner: Learner,
    split: str,
    *,
    mode: Mode = "eval",
    with_metrics: bool = True,
    keep_samples: bool = True,
    keep_outputs: bool = False,
    tasks: Sequence[Task] | None = None,
) -> Evaluation:
    """Evaluate every task of the chain, or some of them, in one pass, sharded over the workers.

    Args:
        learner: The model, its data and its losses.
        split: ``train``, ``valid`` or ``test``.
        mode: Forward mode of the model; the optima are measured in the mode that the steps use (``train``).
        with_metrics: Whether to compute metrics too.
        keep_samples: Whether ``local`` holds the samples of each example; without, it holds those of none.
        keep_outputs: Whether ``outputs`` holds the outputs of each row.
        tasks: Tasks of the chain to evaluate; all when absent.
    """
    model, losses, device = learner.model, learner.losses, learner.device
    tasks = losses.tasks if tasks is None else tasks
    was_training = model.training
    model.train(mode == "train")
    metrics = (
        {task.name: resolve("metric", task.metric, METRICS)().to(device) for task in tasks if task.metric}
        if with_metrics
        else {}
    )
    sums: list[Tensor] = []
    counts: list[Tensor] = []
    kept: list[SplitOutputs] = []
    totals = torch.zeros(2, len(tasks), dtype=torch.float64, device=device)
    try:
        with frozen_buffers(model) if mode == "train" else nullcontext():
            for batch in learner.feed.scan(split):
                outputs = model(batch)
                samples = losses(outputs, batch, tasks)
                totals += torch.stack([part.sum(0, dtype=torch.float64) for part in samples])
                if keep_samples or not sums:
                    sums.append(samples.sums)
                    counts.append(samples.counts)
                if keep_outputs:
                    kept.append(_outputs_of(outputs, batch, losses, tasks))
                for task in tasks:
                    if task.name in metrics:
                        output = output_of(outputs, [task], batch).squeeze(1)
                        metrics[task.name].update(output, losses.label_of(task, batch), batch)
    finally:
        model.train(was_training)
    local = Samples(*(torch.cat(parts) if keep_samples else parts[0][:0].clone() for parts in (sums, counts)))
    all_sums, all_counts = sum_over_workers(totals).tolist()
    values = {name: float(value) for name, value in compute_metrics(metrics).items()}
    return Evaluation(
        split=split,
        losses={t.name: s / n if n else float("nan") for t, s, n in zip(tasks, all_sums, all_counts, strict=True)},
        samples={t.name: int(n) for t, n in zip(tasks, all_counts, strict=True)},
        metrics={name: value for name, value in values.items() if value == value},
        local=local,
        outputs=join_outputs(kept) if keep_outputs else None,
    )


def _outputs_of(outputs: Mapping[str, Tensor], batch: Batch, losses: TaskLosses, tasks: Sequence[Task]) -> SplitOutputs:
    lengths = None if batch.query is None else batch.query.bincount(minlength=batch.examples).cpu()
    return SplitOutputs(
        {task.name: output_of(outputs, [task], batch).squeeze(1).cpu() for task in tasks},
        {task.name: losses.label_of(task, batch).cpu() for task in tasks},
        lengths,
    )
