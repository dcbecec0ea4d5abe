"""The acceptance rule: whether a candidate model keeps every protected task within its limit, by paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trainers.evaluation import Evaluation
from trainers.losses.samples import Samples
from trainers.process_group import sum_over_workers
from trainers.task import Task

ROUNDING = 1e-6
"""Share of the optimum by which single-precision evaluation may differ between devices or numbers of workers; without
it, a stage that gained nothing could seem to break its own limits by the last digit."""

References = Mapping[str, Samples]
"""Protected task → this worker's samples at the task's accepted θ*, of one split."""


@dataclass(frozen=True)
class Verdict:
    """How a candidate stands to one protected task on one split.

    Attributes:
        task: The protected task.
        split: Split of the measurement.
        optimum: L*, the task's mean loss at its own accepted θ*.
        value: L(θ), the candidate's mean loss.
        difference: L(θ) − L*, the mean of the paired sample differences.
        standard_error: Standard error of ``difference``. Examples, not samples, are the independent units: the pairs
            of one list share its items.
        allowed: Largest difference that the rule accepts, ε + s · SE.
        held: Whether ``difference ≤ allowed``, up to rounding.
    """

    task: str
    split: str
    optimum: float
    value: float
    difference: float
    standard_error: float
    allowed: float
    held: bool


def judge(
    evaluation: Evaluation, references: References, protected: Sequence[Task], standard_errors: float
) -> tuple[Verdict, ...]:
    r"""One verdict per protected task.

    With per-example sums :math:`S_e` and counts :math:`n_e`, and :math:`d_e = S_e(\theta) - S_e(\theta^*)` on the very
    same examples, the difference of the means is :math:`D = \sum_e d_e / \sum_e n_e`, a ratio estimate with

    .. math:: SE^2 = \frac{E}{E - 1} \frac{\sum_e (d_e - D\, n_e)^2}{(\sum_e n_e)^2}

    over the E examples that have a labelled sample. The rule is :math:`D \le \varepsilon + s \cdot SE`.

    Args:
        evaluation: The candidate's evaluation.
        references: Samples at each protected task's θ*, of the same examples in the same order.
        protected: The protected tasks.
        standard_errors: s ≥ 0.
    """
    if not protected:
        return ()
    moments = torch.stack([_moments(evaluation.local_of(task.name), references[task.name]) for task in protected])
    verdicts = []
    for task, row in zip(protected, sum_over_workers(moments).tolist(), strict=True):
        examples, n, d, dd, dn, nn, reference = row
        n = n or math.nan  # nobody labelled the task on this split: nothing can be said, so nothing is held
        difference = d / n
        squares = max(0.0, dd - 2 * difference * dn + difference**2 * nn)
        error = (squares * examples / max(1.0, examples - 1)) ** 0.5 / n
        allowed = task.tolerance + standard_errors * error
        verdicts.append(
            Verdict(
                task=task.name,
                split=evaluation.split,
                optimum=reference / n,
                value=evaluation.losses[task.name],
                difference=difference,
                standard_error=error,
                allowed=allowed,
                held=difference <= allowed + ROUNDING * abs(reference / n),
            )
        )
    return tuple(verdicts)


def _moments(candidate: Samples, reference: Samples) -> torch.Tensor:
    d = candidate.sums.double() - reference.sums.double()
    n = candidate.counts.double()
    return torch.stack(
        [
            (n > 0).double().sum(),
            n.sum(),
            d.sum(),
            (d * d).sum(),
            (d * n).sum(),
            (n * n).sum(),
            reference.sums.double().sum(),
        ]
    )
