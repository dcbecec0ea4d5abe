"""The difference of two models' metrics on the same rows, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from nmt.trainers.evaluation.outputs import SplitOutputs, rows_of_examples, to_batch
from nmt.trainers.metrics.auc import AUC
from nmt.trainers.metrics.delong import compare_auc
from nmt.trainers.metrics.ratio import Ratio
from nmt.trainers.registry import METRICS, resolve
from nmt.trainers.spec.task import Task

DRAWS = 200
"""Draws of the bootstrap."""

SEED = 0
"""Seed of the draws: a difference has the same standard error wherever it is computed."""

CELLS = 20_000_000
"""Most pairs of rows of lists that are compared at once."""


@dataclass(frozen=True)
class MetricDifference:
    """How one model's metric differs from another's on the same rows.

    Attributes:
        metric: Name of the metric.
        value: The model's metric.
        reference: The other model's.
        standard_error: Standard error of their difference; NaN where it is undefined.
        sign: 1 where a higher metric is better, −1 otherwise.
    """

    metric: str
    value: float
    reference: float
    standard_error: float
    sign: float = 1.0

    @property
    def difference(self) -> float:
        """The model's metric minus the other's."""
        return self.value - self.reference


def compare_metric(task: Task, outputs: SplitOutputs, reference: Tensor) -> MetricDifference | None:
    """Compare a task's metric under two models.

    The standard error of a difference of AUCs is DeLong's. That of a metric which is a function of sums over examples
    (:class:`~nmt.trainers.metrics.ratio.Ratio`), and of any other metric, comes from a paired bootstrap: both models
    are measured on the same :data:`DRAWS` resamples of the examples (lists, where the data has them).

    Args:
        task: The task.
        outputs: Outputs of the model, and the labels.
        reference: The other model's outputs of the task, of the same rows.

    Returns:
        ``None`` where the task has no metric.
    """
    if not task.metric:
        return None
    kind = resolve("metric", task.metric, METRICS)
    metric: Metric = kind()
    sign = sign_of(metric)
    output, label = outputs.outputs[task.name], outputs.labels[task.name]
    if isinstance(metric, AUC):
        value, other, error = compare_auc(label, output, reference)
    elif isinstance(metric, Ratio):
        value, other, error = _compare_ratios(metric, outputs.lengths, label, output, reference)
    else:
        value, other, error = _bootstrap(kind, outputs.lengths, label, output, reference)
    return MetricDifference(task.metric.rpartition(":")[2], value, other, error, sign)


def sign_of(metric: Metric) -> float:
    """Return 1 where a higher metric is better, −1 otherwise."""
    return -1.0 if metric.higher_is_better is False else 1.0


def _compare_ratios(
    metric: Ratio, lengths: Tensor | None, label: Tensor, one: Tensor, other: Tensor
) -> tuple[float, float, float]:
    """Bootstrap on the parts of the examples alone: a resample is a weight of each example."""
    parts = torch.stack([*_parts(metric, lengths, label, one), *_parts(metric, lengths, label, other)])
    sums = parts.sum(1)
    found = metric.of_ratio(sums[[0, 2]] / sums[[1, 3]])
    generator = torch.Generator().manual_seed(SEED)
    examples = parts.shape[1]
    drawn = []
    for _ in range(DRAWS):
        chosen = torch.randint(examples, (examples,), generator=generator)
        totals = parts @ chosen.bincount(minlength=examples).double()
        drawn.append(metric.of_ratio(totals[[0, 2]] / totals[[1, 3]]))
    return float(found[0]), float(found[1]), _spread(torch.stack(drawn))


def _parts(metric: Ratio, lengths: Tensor | None, label: Tensor, output: Tensor) -> list[Tensor]:
    """Numerator and denominator of each example, some examples at a time."""
    if lengths is None:
        return list(metric.parts(output, label, to_batch(None, len(label))))
    size = max(1, CELLS // max(1, int(lengths.max()) ** 2))
    found = []
    for examples in torch.arange(len(lengths)).split(size):
        rows = rows_of_examples(lengths, examples)
        found.append(metric.parts(output[rows], label[rows], to_batch(lengths[examples], len(rows))))
    return [torch.cat(part) for part in zip(*found, strict=True)]


def _bootstrap(
    kind: Callable[[], Metric], lengths: Tensor | None, label: Tensor, one: Tensor, other: Tensor
) -> tuple[float, float, float]:
    """Bootstrap of any metric: it is computed anew on every resample."""
    examples = len(label) if lengths is None else len(lengths)
    value, reference = (_measure(kind, lengths, label, output) for output in (one, other))
    generator = torch.Generator().manual_seed(SEED)
    drawn = []
    for _ in range(DRAWS):
        chosen = torch.randint(examples, (examples,), generator=generator)
        rows = rows_of_examples(lengths, chosen)
        part = None if lengths is None else lengths[chosen]
        drawn.append([_measure(kind, part, label[rows], output[rows]) for output in (one, other)])
    return value, reference, _spread(torch.tensor(drawn, dtype=torch.float64))


def _measure(kind: Callable[[], Metric], lengths: Tensor | None, label: Tensor, output: Tensor) -> float:
    metric = kind()
    metric.update(output, label, to_batch(lengths, len(label)))
    return float(metric.compute())


def _spread(drawn: Tensor) -> float:
    """Standard deviation of the differences over the draws in which both metrics are defined."""
    differences = drawn[:, 0] - drawn[:, 1]
    differences = differences[differences.isfinite()]
    return float(differences.std()) if len(differences) > 1 else math.nan
