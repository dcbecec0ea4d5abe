"""Whether a model keeps the protected tasks at their optima, by the acceptance rule, however it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.summary.limits import worst_verdict
from orchestrator.trials.held_out import HeldOut
from orchestrator.trials.trial import TrialResult
from trainers.evaluation.acceptance import verdict
from trainers.faults import DamagedError
from trainers.records import Verdict
from trainers.spec.task import Level

Guarantee = Literal["held", "broken", "unknown"]
"""Whether every protected task is within its limit on the validation split; ``unknown`` where one was not evaluated."""


@dataclass(frozen=True)
class Standing:
    """A model's standing on the protected tasks.

    Attributes:
        status: ``held``, ``broken``, or ``unknown`` where the model lacks one of the tasks.
        verdicts: The acceptance rule's verdict on each task, on the validation split.
    """

    status: Guarantee
    verdicts: tuple[Verdict, ...]

    @property
    def worst_task(self) -> str | None:
        """Task furthest beyond its limit, or closest to it when all are within."""
        found = worst_verdict(self.verdicts)
        return found.task if found is not None else None


def guarantee(
    result: TrialResult,
    reference: TrialResult,
    levels: Sequence[Level],
    standard_errors: float,
    held_out: HeldOut,
) -> Standing:
    """Judge a model by the rule, the examples and the optima that NMT's own models are judged by.

    Args:
        result: The model.
        reference: A finished NMT chain whose stages give the optima; the chain itself for its own guarantee.
        levels: Tasks by priority; the last level is not protected.
        standard_errors: s of the acceptance rule.
        held_out: Validation samples.
    """
    if not (result.finished and reference.finished and len(reference.records) == len(levels)):
        return Standing("unknown", ())
    last = result.records[-1]
    verdicts = []
    for record, level in zip(reference.records, levels[:-1], strict=False):
        for task in level:
            try:
                paired = held_out.difference(last.key, record.key, task.name)
            except (KeyError, DamagedError):
                return Standing("unknown", ())
            verdicts.append(verdict(task, "valid", last.losses["valid"][task.name], paired, standard_errors))
    return Standing("held" if all(found.held for found in verdicts) else "broken", tuple(verdicts))
