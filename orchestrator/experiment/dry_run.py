"""A dry run of a user's own model, losses and metrics: some batches, forward and backward, before Ray starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.data.split import Split
from nmt.trainers.losses.task_losses import TaskLosses, output_of
from nmt.trainers.models.build import build_model
from nmt.trainers.registry import LOSSES, METRICS, MODELS, resolve
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.user_code import definition_of, describe, place_of

MOST_EXAMPLES = 64
"""Examples of a batch that is tried."""


def dry_run(spec: ChainSpec, schema: Schema, folder: str, workers: int) -> list[str]:
    """Try a user's own code on the first and the last batch of an epoch, and on held-out rows.

    Args:
        spec: The chain.
        schema: Columns of its data.
        folder: The prepared data.
        workers: Number of workers: the last batch of an epoch is divided among them.

    Returns:
        What is wrong, with the user's own file and line; nothing for an experiment without code of the user's own.
    """
    if not spec.code:
        return []
    with torch.random.fork_rng(devices=[]):
        try:
            model = build_model(spec.model, schema, spec.tasks, spec.training.seed)
        except Exception as error:  # whatever a user's code raises
            return [_problem(f"model {spec.model.name}", "while it is built", error, _model(spec))]
        trial = _Trial(spec, model, TaskLosses(spec.tasks))
        for where, batch, training in _batches(spec, schema, folder, workers):
            if (problem := trial.run(where, batch, training)) is not None:
                return [problem]
    return []


def _batches(spec: ChainSpec, schema: Schema, folder: str, workers: int) -> Iterator[tuple[str, Batch, bool]]:
    labels = [task.label for task in spec.tasks]
    for split in ("train", "valid"):
        reader = Split(folder, split, schema, labels)
        first, last = reader.units[0], reader.units[-1]
        examples = reader.read(first)
        count = min(MOST_EXAMPLES, spec.batch_size, len(examples))
        yield (
            f"the first {split} batch",
            examples.take(np.arange(count)).to_batch(torch.device("cpu")),
            split == "train",
        )
        if split == "train":
            left = reader.examples % spec.batch_size or spec.batch_size
            size = max(1, min(left // workers, MOST_EXAMPLES))  # the smallest part that a worker may get
            rows = reader.read(last)
            tail = rows.take(np.arange(max(0, len(rows) - size), len(rows)))
            of = f", {size} of its {left} examples" if size < left else f", {left} examples"
            yield f"the last train batch of an epoch{of}", tail.to_batch(torch.device("cpu")), True


@dataclass
class _Trial:
    spec: ChainSpec
    model: nn.Module
    losses: TaskLosses

    def run(self, where: str, batch: Batch, training: bool) -> str | None:
        """Run a batch through the model, every loss and, on held-out rows, every metric; return what is wrong."""
        self.model.train(training)
        self.model.zero_grad(set_to_none=True)
        shown = f"on {where}"
        try:
            outputs: Mapping[str, Tensor] = self.model(batch)
        except Exception as error:
            return _problem(f"model {self.spec.model.name}", shown, error, _model(self.spec))
        total: list[Tensor] = []
        for task in self.spec.tasks:
            try:
                samples = self.losses(outputs, batch, [task])
                total.append(samples.sums.sum() / samples.counts.sum().clamp(min=1))
            except Exception as error:
                return _problem(f"loss {task.loss} of task {task.name}", shown, error, self._whose(task, error))
        if training:
            try:
                torch.stack(total).sum().backward()
            except Exception as error:
                return _problem(f"the gradient of model {self.spec.model.name}", shown, error, _model(self.spec))
            if not any(parameter.grad is not None for parameter in self.model.parameters()):
                place = _model(self.spec)
                return f"model {self.spec.model.name}, {shown}: no parameter gets a gradient{_at(place)}"
            return None
        for task in self.spec.tasks:
            if not task.metric:
                continue
            kind = resolve("metric", task.metric, METRICS)
            try:
                metric: Any = kind()
                output = output_of(outputs, [task], batch).squeeze(1).detach()
                metric.update(output, self.losses.label_of(task, batch), batch)
                metric.compute()
            except Exception as error:
                return _problem(f"metric {task.metric} of task {task.name}", shown, error, definition_of(kind))
        return None

    def _whose(self, task: Task, error: Exception) -> str | None:
        """Where to look: the loss, if it is the user's own; else the model, whose output it cannot use."""
        return definition_of(resolve("loss", task.loss, LOSSES)) or _model(self.spec)


def _model(spec: ChainSpec) -> str | None:
    return definition_of(resolve("model", spec.model.name, MODELS))


def _problem(what: str, where: str, error: Exception, fallback: str | None) -> str:
    return f"{what}, {where}: {describe(error)}{_at(place_of(error) or fallback)}"


def _at(place: str | None) -> str:
    return f" ({place})" if place else ""
