"""The acceptance rule: whether a candidate model keeps every protected task within its limit, by paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.evaluation.metric_difference import compare_metric
from nmt.trainers.evaluation.outputs import SplitOutputs, gather_outputs
from nmt.trainers.evaluation.paired import PairedDifference, moments
from nmt.trainers.losses.samples import Samples
from nmt.trainers.records import Currency, Deviation, Verdict
from nmt.trainers.spec.task import Task
from nmt.trainers.workers.process_group import broadcast_object, sum_over_workers

ROUNDING = 1e-6
"""Share of the optimum by which single-precision evaluation may differ between devices or numbers of workers; without
it, a stage that gained nothing could seem to break its own limits by the last digit."""

References = Mapping[str, Samples]
"""Protected task → this worker's samples at the task's accepted θ*, of one split."""


def judge(
    evaluation: Evaluation,
    references: References,
    protected: Sequence[Task],
    standard_errors: float,
    accept_on: Currency = "loss",
) -> tuple[Verdict, ...]:
    r"""One verdict per protected task: :math:`D \le \varepsilon + s \cdot SE` of the paired difference D.

    Args:
        evaluation: The candidate's evaluation.
        references: Samples at each protected task's θ*, of the same examples in the same order.
        protected: The protected tasks.
        standard_errors: s ≥ 0.
        accept_on: What decides, for the verdicts to say.
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
            accept_on,
        )
        for task, row in zip(protected, sum_over_workers(sums).tolist(), strict=True)
    )


def judge_metrics(
    verdicts: Sequence[Verdict],
    evaluation: Evaluation,
    outputs: Mapping[str, Tensor],
    protected: Sequence[Task],
    standard_errors: float,
) -> tuple[Verdict, ...]:
    r"""Add the verdicts on the metrics: :math:`M(\theta) \ge M(\theta^*) - s \cdot SE`, or ≤ and + if less is better.

    Every worker calls this; the first one compares.

    Args:
        verdicts: Verdicts on the losses, one per protected task.
        evaluation: The candidate's evaluation, with its outputs.
        outputs: Protected task → outputs at its θ* on all rows of the split; used on the first worker alone.
        protected: The protected tasks.
        standard_errors: s ≥ 0.
    """
    if not protected or evaluation.outputs is None:
        return tuple(verdicts)
    gathered = gather_outputs(evaluation.outputs, [task.name for task in protected])
    found: list[Deviation | None] = []
    if gathered is not None:
        found = [metric_deviation(task, gathered, outputs[task.name], standard_errors) for task in protected]
    return tuple(
        replace(verdict, metric=metric) for verdict, metric in zip(verdicts, broadcast_object(found), strict=True)
    )


def metric_deviation(task: Task, outputs: SplitOutputs, reference: Tensor, standard_errors: float) -> Deviation | None:
    """Apply the rule to the metric of one protected task; ``None`` where it has none or it is undefined.

    Args:
        task: The protected task.
        outputs: Outputs of the model on all rows of a split.
        reference: Outputs at the task's θ*, of the same rows.
        standard_errors: s ≥ 0.
    """
    found = compare_metric(task, outputs, reference)
    if found is None or not math.isfinite(found.difference):
        return None
    allowed = standard_errors * found.standard_error if math.isfinite(found.standard_error) else 0.0
    return Deviation(
        quantity=found.metric,
        reference=found.reference,
        value=found.value,
        difference=found.difference,
        standard_error=found.standard_error,
        allowed=allowed,
        held=-found.sign * found.difference <= allowed + ROUNDING * abs(found.reference),
        higher_is_better=found.sign > 0,
    )


def verdict(
    task: Task,
    split: str,
    value: float,
    paired: PairedDifference,
    standard_errors: float,
    accept_on: Currency = "loss",
) -> Verdict:
    """The rule applied to one protected task.

    Args:
        task: The protected task.
        split: Split of the measurement.
        value: L(θ), the candidate's mean loss.
        paired: Its difference to the model at the task's optimum.
        standard_errors: s ≥ 0.
        accept_on: What decides.
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
        accept_on=accept_on,
    )
