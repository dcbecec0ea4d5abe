"""A model's losses and metrics on raw rows with labels, paired against another model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.models.rows import RowFiles
from nmt.trainers.encoding.numbers import to_float64
from nmt.trainers.evaluation.metric_difference import compare_metric
from nmt.trainers.evaluation.outputs import SplitOutputs, rows_of_examples, to_batch
from nmt.trainers.evaluation.paired import PairedDifference
from nmt.trainers.export.predictor import Predictor
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.spec.task import Task

EXAMPLES = 4096
"""Examples whose losses are computed at once."""


@dataclass(frozen=True)
class TaskEvaluation:
    """A model on one task.

    Attributes:
        task: The task.
        rows: Rows with a label.
        loss: Mean loss.
        metric: Name of its metric; empty where it has none.
        value: The metric.
        loss_difference: Mean loss minus the other model's, paired; ``None`` without another model.
        loss_error: Standard error of that difference.
        metric_difference: The metric minus the other model's.
        metric_error: Standard error of that difference.
        higher_is_better: Direction of the metric.
    """

    task: str
    rows: int
    loss: float
    metric: str
    value: float | None
    loss_difference: float | None = None
    loss_error: float | None = None
    metric_difference: float | None = None
    metric_error: float | None = None
    higher_is_better: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; a number that is not finite is ``None``."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """A model on the tasks whose labels the data have.

    Attributes:
        model: What was evaluated.
        against: What it was compared with, or ``None``.
        tasks: The tasks, by priority.
    """

    model: str
    against: str | None
    tasks: tuple[TaskEvaluation, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {"model": self.model, "against": self.against, "tasks": [task.to_dict() for task in self.tasks]}


def evaluate_files(
    predictor: Predictor, data: str, against: Predictor | None = None, where: str | None = None
) -> list[TaskEvaluation]:
    """Evaluate a model on every task whose label the data have.

    Args:
        predictor: The model.
        data: File or folder of raw rows with labels; held in memory.
        against: Another model; tasks of the same name are compared, example by example.
        where: ``column=value``: only these rows, such as ``split=test``.

    Raises:
        RequestError: A column is missing or cannot be used, or the data have no label.
    """
    files = RowFiles(data)
    tasks = [task for task in predictor.model.tasks if task.label in files.names]
    if not tasks:
        labels = ", ".join(task.label for task in predictor.model.tasks)
        raise RequestError(f"{data} has none of the labels {labels}; it has {', '.join(files.names)}")
    rows = _read(files, [predictor, *([against] if against else [])], tasks, where)
    rows, lengths = _by_list(rows, predictor.model.encoder.query)
    outputs = _outputs(predictor, rows, data)
    other = None if against is None else _outputs(against, rows, data)
    found = []
    for task in tasks:
        label = torch.from_numpy(to_float64(rows[task.label]).astype(np.float32))
        compared = None if other is None else other.get(task.name)
        found.append(_evaluate(task, outputs[task.name], label, lengths, compared))
    return found


def _evaluate(
    task: Task, output: Tensor, label: Tensor, lengths: Tensor | None, other: Tensor | None
) -> TaskEvaluation:
    samples = _samples(task, output, label, lengths)
    metric = compare_metric(
        task, SplitOutputs({task.name: output}, {task.name: label}, lengths), output if other is None else other
    )
    loss = float(samples.sums.double().sum() / samples.counts.double().sum())
    rows = int((~label.isnan()).sum())
    name, value = ("", None) if metric is None else (metric.metric, metric.value)
    higher = metric is None or metric.sign > 0
    if other is None:
        return TaskEvaluation(task.name, rows, loss, name, value, higher_is_better=higher)
    paired = PairedDifference.between(samples, _samples(task, other, label, lengths))
    return TaskEvaluation(
        task.name,
        rows,
        loss,
        name,
        value,
        loss_difference=paired.difference,
        loss_error=paired.standard_error,
        metric_difference=None if metric is None else metric.difference,
        metric_error=None if metric is None else metric.standard_error,
        higher_is_better=higher,
    )


def _samples(task: Task, output: Tensor, label: Tensor, lengths: Tensor | None) -> Samples:
    """Sums and counts of the sample losses of each example, shape ``(examples,)``."""
    losses = TaskLosses([task])
    examples = torch.arange(len(label) if lengths is None else len(lengths))
    parts = []
    for chosen in examples.split(EXAMPLES):
        rows = rows_of_examples(lengths, chosen)
        batch = to_batch(None if lengths is None else lengths[chosen], len(rows), label[rows].unsqueeze(1))
        found = losses({task.name: output[rows]}, batch, [task])
        parts.append(Samples(found.sums[:, 0], found.counts[:, 0]))
    return Samples(torch.cat([part.sums for part in parts]), torch.cat([part.counts for part in parts]))


def _read(files: RowFiles, models: Sequence[Predictor], tasks: Sequence[Task], where: str | None) -> pa.Table:
    wanted = [task.label for task in tasks]
    for model in models:
        query = model.model.encoder.query
        wanted += [*model.model.encoder.columns, *([query] if query in files.names else [])]
    wanted = [name for name in dict.fromkeys(wanted) if name in files.names]
    condition = None
    if where is not None:
        column, equals, value = where.partition("=")
        if not equals or column not in files.names:
            raise RequestError(f"--where is {where!r}; give column=value with one of {', '.join(files.names)}")
        condition = pc.field(column).cast(pa.string()) == value
    tables = list(files.batches(wanted, condition))
    rows = pa.concat_tables(tables) if tables else None
    if rows is None or not rows.num_rows:
        raise RequestError(f"no row is left{f' where {where}' if where else ''}; nothing to evaluate")
    return rows


def _by_list(rows: pa.Table, query: str | None) -> tuple[pa.Table, Tensor | None]:
    """Rows with those of a list adjacent, and the rows of each list."""
    if query is None:
        return rows, None
    if query not in rows.column_names:
        raise RequestError(f"the model was trained on lists, and the data have no column {query} that says which")
    codes = rows[query].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    lengths = np.bincount(codes)
    return rows.take(pa.array(order)), torch.from_numpy(lengths)


def _outputs(predictor: Predictor, rows: pa.Table, data: str) -> dict[str, Tensor]:
    try:
        encoded = predictor.model.encoder.encode(rows)
    except ValueError as error:
        raise RequestError(f"{data}: {error}") from error
    if encoded.problems:
        first = encoded.problems[0]
        raise RequestError(
            f"{data}: {len(encoded.problems)} values cannot be used, the first in column {first.column!r}: {first.text}"
        )
    return predictor.outputs(encoded)
