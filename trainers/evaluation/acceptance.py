"""The acceptance rule: whether a candidate model keeps every protected task within its limit, by paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from trainers.evaluation.evaluation import Evaluation
from trainers.evaluation.paired import PairedDifference, moments
from trainers.losses.samples import Samples
from trainers.records import Verdict
from trainers.spec.task import Task
from trainers.workers.process_group import sum_over_workers

ROUNDING = 1e-6
"""Share of the optimum by which single-precision evaluation may differ between devices or numbers of workers; without
it, a stage that gained nothing could seem to break its own limits by the last digit."""

References = Mapping[str, Samples]
"""Protected task → this worker's samples at the task's accepted θ*, of one split."""


def judge(
    evaluation: Evaluation, references: References, protected: Sequence[Task], standard_errors: float
) -> tuple[Verdict, ...]:
    r"""One verdict per protected task: :math:`D \le \varepsilon + s \cdot SE` of the paired difference D.

    Args:
        evaluation: The candidate's evaluation.
        references: Samples at each protected task's θ*, of the same examples in the same order.
        protected: The protected tasks.
        standard_errors: s ≥ 0.
    """
    if not protected:
        return ()
    sums = torch.stack([moments(evaluation.local_of(task.name), references[task.name]) for task in protected])
    return tuple(
        verdict(
            task,
            evaluation.split,
            evaluation.losses[task.name],
            PairedDifference.of_moments(row),
            standard_errors,
        )
        for task, row in zip(protected, sum_over_workers(sums).tolist(), strict=True)
    )


def verdict(task: Task, split: str, value: float, paired: PairedDifference, standard_errors: float) -> Verdict:
    """The rule applied to one protected task.

    Args:
        task: The protected task.
        split: Split of the measurement.
        value: L(θ), the candidate's mean loss.
        paired: Its difference to the model at the task's optimum.
        standard_errors: s ≥ 0.
    """
    allowed = task.tolerance + standard_errors * paired.standard_error
    return Verdict(
        task=task.name,
        split=split,
        optimum=paired.reference,
        value=value,
        difference=paired.difference,
        standard_error=paired.standard_error,
        allowed=allowed,
        held=paired.difference <= allowed + ROUNDING * abs(paired.reference),
    )
