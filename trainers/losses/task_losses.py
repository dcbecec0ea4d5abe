"""The losses of all tasks of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.losses.samples import Samples
from nmt.trainers.registry import LOSSES, resolve
from nmt.trainers.spec.task import Task


class TaskLosses:
    """Evaluates all tasks with the same loss, options and output shape in one call.

    Args:
        tasks: Tasks in the order of the columns of ``Batch.labels``.

    Raises:
        ValueError: A task's loss is unknown.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self._column = {task.name: column for column, task in enumerate(self.tasks)}
        self._loss = {task.name: partial(resolve("loss", task.loss, LOSSES), **task.options) for task in tasks}
        self._trailing: dict[str, torch.Size] = {}
        self._kind = {task.name: f"{task.loss} {sorted(task.options.items())!r}" for task in tasks}

    def __call__(self, outputs: Mapping[str, Tensor], batch: Batch, tasks: Sequence[Task]) -> Samples:
        """Return the samples of ``tasks``, in their order, shape ``(examples, len(tasks))``.

        Args:
            outputs: Task → output of the model, shape ``(rows,)`` or ``(rows, classes)``.
            batch: The minibatch.
            tasks: Tasks to evaluate: any subset of the chain's, in any order.

        Raises:
            ValueError: The model does not return a mapping, lacks an output, or has one of a shape that the loss cannot
                use; or the loss does not return samples.
        """
        groups: dict[tuple[str, torch.Size], list[int]] = {}
        for i, task in enumerate(tasks):
            shape = _output(outputs, task, batch).shape[1:]  # outputs of one group are stacked
            self._trailing[task.name] = shape
            groups.setdefault((self._kind[task.name], shape), []).append(i)
        if len(groups) == 1:
            return self._group(outputs, batch, tasks)
        sums: list[Tensor] = [torch.empty(0)] * len(tasks)
        counts = list(sums)
        for indices in groups.values():
            samples = self._group(outputs, batch, [tasks[i] for i in indices])
            for column, i in enumerate(indices):
                sums[i], counts[i] = samples.sums[:, column], samples.counts[:, column]
        return Samples(torch.stack(sums, 1), torch.stack(counts, 1))

    def label_of(self, task: Task, batch: Batch) -> Tensor:
        """Return the labels of a task, shape ``(rows,)``."""
        return batch.labels[:, self._column[task.name]]

    def counts(self, batch: Batch, tasks: Sequence[Task]) -> Tensor:
        """Count the labelled samples of ``tasks`` from the labels alone, shape ``(examples, len(tasks))``.

        A loss without :func:`~nmt.trainers.losses.samples.count_with` is evaluated on zeros in the shape of its last
        outputs.
        """
        columns: list[Tensor] = [torch.empty(0)] * len(tasks)
        groups: dict[tuple[str, torch.Size | None], list[int]] = {}
        for i, task in enumerate(tasks):
            groups.setdefault((self._kind[task.name], self._trailing.get(task.name)), []).append(i)
        for indices in groups.values():
            first = tasks[indices[0]].name
            label = batch.labels[:, [self._column[tasks[i].name] for i in indices]]
            count = getattr(self._loss[first].func, "counts", None)
            if count is not None:
                found = count(label, batch)
            else:
                zeros = label.new_zeros(*label.shape, *self._trailing.get(first, ()))
                found = self._loss[first](zeros, label, batch).counts
            for column, i in enumerate(indices):
                columns[i] = found[:, column]
        return torch.stack(columns, 1)

    def _group(self, outputs: Mapping[str, Tensor], batch: Batch, tasks: Sequence[Task]) -> Samples:
        columns = [self._column[task.name] for task in tasks]
        contiguous = columns == list(range(columns[0], columns[0] + len(columns)))
        label = batch.labels[:, columns[0] : columns[0] + len(columns)] if contiguous else batch.labels[:, columns]
        output = output_of(outputs, tasks, batch)
        try:
            samples = self._loss[tasks[0].name](output, label, batch)
        except ValueError as error:
            raise ValueError(f"{_names(tasks)}: {error}") from error
        shape = (batch.examples, len(tasks))
        if not isinstance(samples, Samples) or any(tuple(part.shape) != shape for part in samples):
            found = [tuple(part.shape) for part in samples] if isinstance(samples, Samples) else type(samples).__name__
            raise ValueError(
                f"{_names(tasks)}: a loss must return trainers.losses.samples.Samples, sums and counts of shape "
                f"(examples, tasks) = {shape}; found {found}"
            )
        return samples


def output_of(outputs: Mapping[str, Tensor], tasks: Sequence[Task], batch: Batch) -> Tensor:
    """Stack the outputs of tasks; half precision becomes single.

    Returns:
        Shape ``(rows, tasks)``, or ``(rows, 1)`` when the tasks share one output tensor; with a trailing dimension of
        classes where the outputs have one.

    Raises:
        ValueError: The model does not return a mapping, lacks an output, or has one of the wrong length.
    """
    found = [_output(outputs, task, batch) for task in tasks]
    shared = all(output is found[0] for output in found)
    output = found[0].unsqueeze(1) if shared else torch.stack(found, 1)
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def _output(outputs: object, task: Task, batch: Batch) -> Tensor:
    if not isinstance(outputs, Mapping):  # a user's own model
        raise ValueError(f"the model returns a {type(outputs).__name__}, expected a mapping from task to output")
    if task.name not in outputs:
        raise ValueError(f"the model has no output for task {task.name!r}; its outputs are {list(outputs)}")
    output: Tensor = outputs[task.name]
    if output.shape[:1] != (batch.rows,) or output.shape[1:] == (1,):
        raise ValueError(
            f"the model's output for task {task.name!r} has shape {tuple(output.shape)}, "
            f"expected one value or row of logits for each of {batch.rows} rows"
        )
    return output


def _names(tasks: Sequence[Task]) -> str:
    return f"loss {tasks[0].loss!r} of {', '.join(repr(task.name) for task in tasks)}"
