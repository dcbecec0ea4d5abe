"""Outputs of a model on every row of a split, from which metrics of two models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.workers.process_group import gather_objects, rank, world_size


@dataclass(frozen=True)
class SplitOutputs:
    """Outputs and labels of some examples of a split, on the host, rows in the order of the examples.

    Attributes:
        outputs: Task → output, float32 at least, shape ``(rows,)`` or ``(rows, classes)``.
        labels: Task → label, NaN where missing, shape ``(rows,)``.
        lengths: Rows of each example, shape ``(examples,)``; ``None`` where a row is an example.
    """

    outputs: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    lengths: Tensor | None

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(next(iter(self.labels.values()), torch.empty(0))) if self.lengths is None else len(self.lengths)

    def select(self, tasks: Sequence[str]) -> SplitOutputs:
        """Return those of some tasks."""
        outputs = {task: self.outputs[task] for task in tasks if task in self.outputs}
        return SplitOutputs(outputs, {task: self.labels[task] for task in outputs}, self.lengths)


def join_outputs(parts: Sequence[SplitOutputs]) -> SplitOutputs:
    """Join the outputs of minibatches, in their order."""
    tasks = parts[0].outputs
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return SplitOutputs(
        {task: torch.cat([part.outputs[task] for part in parts]) for task in tasks},
        {task: torch.cat([part.labels[task] for part in parts]) for task in tasks},
        torch.cat(lengths) if lengths else None,
    )


def gather_outputs(local: SplitOutputs, tasks: Sequence[str]) -> SplitOutputs | None:
    """Gather the outputs of some tasks of all workers on the first one, in the order of the examples.

    Worker r of W holds the examples i with i mod W = r.

    Returns:
        ``None`` on the other workers.
    """
    mine = local.select(tasks)
    if world_size() == 1:
        return mine
    everyone = gather_objects(mine)
    if rank() > 0:
        return None
    lengths = [
        part.lengths if part.lengths is not None else torch.ones(part.examples, dtype=torch.int64) for part in everyone
    ]
    order = torch.cat(
        [worker + world_size() * torch.arange(len(part)) for worker, part in enumerate(lengths)]
    ).argsort()
    joined = torch.cat(lengths)
    rows = _rows_of(joined, order)
    return SplitOutputs(
        {task: torch.cat([part.outputs[task] for part in everyone])[rows] for task in mine.outputs},
        {task: torch.cat([part.labels[task] for part in everyone])[rows] for task in mine.outputs},
        None if mine.lengths is None else joined[order],
    )


def to_batch(lengths: Tensor | None, rows: int, labels: Tensor | None = None) -> Batch:
    """Return a minibatch without features whose examples have these rows, for metrics and losses.

    Args:
        lengths: Rows of each example; ``None`` where a row is an example.
        rows: Number of rows.
        labels: Labels, shape ``(rows, tasks)``; none where absent.
    """
    empty = torch.zeros(rows, 0)
    count = rows if lengths is None else len(lengths)
    query = None if lengths is None else torch.arange(count).repeat_interleave(lengths)
    first = None if lengths is None else (lengths.cumsum(0) - lengths)
    return Batch(
        categorical=empty.long(),
        numeric=empty,
        packed=empty.to(torch.uint8),
        labels=empty if labels is None else labels,
        index=torch.arange(count),
        query=query,
        position=None if query is None or first is None else torch.arange(rows) - first[query],
        longest=1 if lengths is None or not count else int(lengths.max()),
    )


def _rows_of(lengths: Tensor, examples: Tensor) -> Tensor:
    """Numbers of the rows of these examples, in their order."""
    first = lengths.cumsum(0) - lengths
    chosen = lengths[examples]
    start = chosen.cumsum(0) - chosen
    return torch.arange(int(chosen.sum())) + (first[examples] - start).repeat_interleave(chosen)


def rows_of_examples(lengths: Tensor | None, examples: Tensor) -> Tensor:
    """Return the numbers of the rows of some examples, in their order."""
    return examples if lengths is None else _rows_of(lengths, examples)
