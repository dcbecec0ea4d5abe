"""Where a step's violations come from: the training minibatch, the same paired with references, or held-out data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.acceptance import References
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.protection import Protection
from nmt.trainers.workers.process_group import sum_over_workers, world_size


class Violations(Protocol):
    """Measures the signed violations of a step from numbers of *before* the step on θ."""

    every: int
    """Steps between two measurements; the multipliers' rate is per step, so an ascent counts this many times."""

    def measure(self, batch: Batch, samples: Samples, counts: Tensor, losses: Tensor) -> Tensor:
        """Global violations, double, shape ``(protected,)``; 0 for a task that nobody labelled.

        Args:
            batch: This worker's part of the training minibatch.
            samples: Its samples, protected tasks first.
            counts: Labelled samples over all workers, shape ``(tasks,)``.
            losses: Global mean losses, shape ``(tasks,)``.
        """

    def skip(self, measurements: int) -> None:
        """Fast-forward past n measurements."""


class MinibatchViolations:
    r"""The paper's: :math:`\ell_i - L_i^* - \varepsilon_i` on the global training minibatch."""

    every = 1

    def __init__(self, multipliers: Multipliers) -> None:
        self._multipliers = multipliers

    def measure(self, batch: Batch, samples: Samples, counts: Tensor, losses: Tensor) -> Tensor:
        """Violations of the minibatch's own losses."""
        violations = self._multipliers.violations(losses)
        return torch.where(counts[: len(violations)] > 0, violations, 0.0)

    def skip(self, measurements: int) -> None:
        """Nothing to skip: the training minibatch is the caller's."""


class PairedViolations:
    r"""On the training minibatch, against the losses of the very same samples at θ*_i.

    The mean of :math:`\ell_i(\theta; x) - \ell_i(\theta_i^*; x)` has the expectation of :math:`\ell_i - L_i^*` with the
    noise of the samples cancelled (a control variate). Noise matters, because the projection at 0 turns it into a
    positive bias of λ.

    Args:
        multipliers: The stage's multipliers.
        references: Protected task → this worker's training samples at θ*_i.
        protected: Protected tasks, in the order of the multipliers.
    """

    every = 1

    def __init__(self, multipliers: Multipliers, references: References, protected: Sequence[Task]) -> None:
        self._multipliers = multipliers
        self._references = _stacked(references, protected)

    def measure(self, batch: Batch, samples: Samples, counts: Tensor, losses: Tensor) -> Tensor:
        """Violations of the paired differences."""
        return _paired(self._multipliers, self._references, batch, samples, counts)

    def skip(self, measurements: int) -> None:
        """Nothing to skip: the training minibatch is the caller's."""


class HeldOutViolations:
    """Paired, on batches of the validation split: what over-fitting of the training split cannot hide.

    On logs that over-fit within an epoch or two the training loss of a protected task falls below its optimum, λ goes
    to 0, and its held-out loss is no longer protected. One more forward pass, without gradient, every ``every`` steps.

    Args:
        multipliers: The stage's multipliers.
        references: Protected task → this worker's validation samples at θ*_i.
        learner: The model, its data and its losses.
        spec: The stage.
    """

    def __init__(self, multipliers: Multipliers, references: References, learner: Learner, spec: StageSpec) -> None:
        self.every = spec.settings.measure_every
        self._multipliers = multipliers
        self._references = _stacked(references, spec.protected)
        self._learner = learner
        self._spec = spec
        self._batches = _endless(learner.feed, spec)

    @torch.no_grad()
    def measure(self, batch: Batch, samples: Samples, counts: Tensor, losses: Tensor) -> Tensor:
        """Violations of the paired differences on the next held-out batch."""
        held_out = next(self._batches)
        model = self._learner.model.eval()
        fresh = self._learner.losses(model(held_out), held_out, self._spec.protected)
        model.train()
        totals = sum_over_workers(fresh.counts.sum(0, dtype=torch.float64))
        return _paired(self._multipliers, self._references, held_out, fresh, totals)

    def skip(self, measurements: int) -> None:
        """Fast-forward past n held-out batches."""
        self._batches = _endless(self._learner.feed, self._spec, measurements)


@dataclass(frozen=True)
class Ascent:
    """How a stage's multipliers move.

    Attributes:
        multipliers: The multipliers.
        violations: Where their violations come from.
    """

    multipliers: Multipliers
    violations: Violations


def build_violations(learner: Learner, spec: StageSpec, protection: Protection, multipliers: Multipliers) -> Violations:
    """Where the violations of a stage come from, by its training options.

    Args:
        learner: The model, its data and its losses.
        spec: The stage.
        protection: What it must not break.
        multipliers: Its multipliers.
    """
    if not spec.protected or spec.settings.violations == "minibatch":
        return MinibatchViolations(multipliers)
    if spec.settings.violations == "paired":
        return PairedViolations(multipliers, protection.references["train"], spec.protected)
    return HeldOutViolations(multipliers, protection.references["valid"], learner, spec)


def _paired(multipliers: Multipliers, references: Tensor, batch: Batch, samples: Samples, counts: Tensor) -> Tensor:
    protected = references.shape[1]
    here = references[batch.index // world_size()]
    differences = (samples.sums[:, :protected].detach().double() - here).sum(0)
    labelled = counts[:protected]
    violations = multipliers.paired_violations(sum_over_workers(differences) / labelled.clamp(min=1))
    return torch.where(labelled > 0, violations, 0.0)


def _stacked(references: References, protected: Sequence[Task]) -> Tensor:
    """Reference sums of this worker's examples, shape ``(examples, protected)``, in the order that it holds them."""
    return torch.stack([references[task.name].sums for task in protected], 1).double()


def _endless(feed: Feed, spec: StageSpec, start: int = 0) -> Iterator[Batch]:
    """Held-out batches, epoch after epoch."""
    share = spec.settings.measured_share
    per_epoch = feed.steps_per_epoch("valid", share)
    epoch, first = divmod(start, per_epoch)
    while True:
        yield from feed.epoch(spec.index, epoch, "valid", first, share)
        epoch, first = epoch + 1, 0
