"""The best constant prediction: what any trained model has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.spec.task import Task
from nmt.trainers.workers.process_group import sum_over_workers, world_size

FITTED = ("binary_cross_entropy", "cross_entropy", "pairwise_logistic", "squared_error")
"""Losses whose best constant is known in closed form."""


_known: WeakKeyDictionary[Feed, dict[tuple[tuple[str, ...], ...], dict[str, dict[str, float]]]] = WeakKeyDictionary()
"""Trials of a group share a process and its data: the constants are the same for all of them."""


def constant_losses(learner: Learner) -> dict[str, dict[str, float]]:
    r"""Return the held-out losses of the best constant prediction; every worker calls this.

    The constant minimises the loss on the training split: the logit of the rate of positive labels, the logarithms of
    the frequencies of classes, the mean, or any score. A loss of the user's own has none here.

    Args:
        learner: The chain's data and losses; its model is not used.

    Returns:
        Split (``valid``, ``test``) → task → mean loss.
    """
    tasks = tuple(task for task in learner.losses.tasks if task.loss in FITTED)
    if not tasks:
        return {}
    # Several workers must not differ in what they know already: they measure together.
    known = _known.setdefault(learner.feed, {}) if world_size() == 1 else {}
    key = tuple((task.name, task.loss, task.label) for task in tasks)
    if key not in known:
        known[key] = _measure(learner, tasks)
    return known[key]


def _measure(learner: Learner, tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    constant = _Constant(fit_constants(learner, tasks)).to(learner.device)
    alone = Learner(constant, learner.feed, learner.losses)
    return {
        split: evaluate(alone, split, with_metrics=False, keep_samples=False, tasks=tasks).losses
        for split in ("valid", "test")
    }


def fit_constants(learner: Learner, tasks: Sequence[Task]) -> dict[str, Tensor]:
    """Return each task's best constant output on the training split, double, shape ``()`` or ``(classes,)``."""
    device, feed = learner.device, learner.feed
    sums = {task.name: torch.zeros(_classes(task, feed), dtype=torch.float64, device=device) for task in tasks}
    counts = torch.zeros(len(tasks), dtype=torch.float64, device=device)
    for batch in feed.scan("train"):
        for place, task in enumerate(tasks):
            label = learner.losses.label_of(task, batch)
            known = label[~label.isnan()]
            counts[place] += len(known)
            if task.loss == "cross_entropy":
                sums[task.name] += known.long().bincount(minlength=len(sums[task.name]))
            else:
                sums[task.name] += known.double().sum()
    totals = sum_over_workers(torch.cat([*sums.values(), counts]))
    found: dict[str, Tensor] = {}
    start = 0
    for place, task in enumerate(tasks):
        width = len(sums[task.name])
        mean = totals[start : start + width] / totals[len(totals) - len(tasks) + place].clamp(min=1)
        start += width
        match task.loss:
            case "binary_cross_entropy":
                found[task.name] = torch.logit(mean, eps=1e-12).squeeze(0)
            case "cross_entropy":
                found[task.name] = mean.clamp(min=1e-12).log()
            case "squared_error":
                found[task.name] = mean.squeeze(0)
            case _:
                found[task.name] = torch.zeros((), dtype=torch.float64, device=device)
    return found


def _classes(task: Task, feed: Feed) -> int:
    return max(1, feed.schema.labels[task.label]) if task.loss == "cross_entropy" else 1


class _Constant(nn.Module):
    """Maps every row to the same outputs."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._values = nn.ParameterDict(
            {f"t{place}": nn.Parameter(value.float()) for place, value in enumerate(values.values())}
        )
        self._names = list(values)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rows = len(batch.labels)
        return {
            name: value.detach().expand(rows, *value.shape)
            for name, value in zip(self._names, self._values.values(), strict=True)
        }
