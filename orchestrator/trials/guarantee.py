"""Whether a model keeps the protected tasks at their optima, by the acceptance rule, however it was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nmt.orchestrator.summary.limits import worst_verdict
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import TrialResult
from nmt.trainers.evaluation.acceptance import metric_deviation, verdict
from nmt.trainers.faults import DamagedError
from nmt.trainers.records import Currency, Verdict
from nmt.trainers.spec.task import Level

Guarantee = Literal["held", "broken", "unknown"]
"""Whether every protected task is within its limit on the validation split; ``unknown`` where one was not evaluated."""


@dataclass(frozen=True)
class Standing:
    """A model's standing on the protected tasks.

    Attributes:
        status: ``held``, ``broken``, or ``unknown`` where the model lacks one of the tasks.
        verdicts: The acceptance rule's verdict on each task, in loss and in metric, on ``valid`` and on ``test``.
    """

    status: Guarantee
    verdicts: tuple[Verdict, ...]

    @property
    def worst_task(self) -> str | None:
        """Task furthest beyond its limit, or closest to it when all are within."""
        found = worst_verdict(self.verdicts)
        return found.task if found is not None else None


@dataclass(frozen=True)
class Rule:
    """The acceptance rule of an experiment.

    Attributes:
        levels: Tasks by priority; the last level is not protected.
        standard_errors: s of the rule.
        accept_on: Whether losses or metrics decide.
    """

    levels: Sequence[Level]
    standard_errors: float
    accept_on: Currency


def chain_guarantee(chain: TrialResult, levels: int) -> Guarantee:
    """Return the guarantee of a chain of NMT, as its last stage recorded it.

    Args:
        chain: The chain.
        levels: Number of levels that it should solve.
    """
    if not chain.finished or sum(bool(record.level) for record in chain.records) < levels:
        return "unknown"
    return "held" if chain.records[-1].held else "broken"


def guarantee(result: TrialResult, reference: TrialResult, rule: Rule, held_out: HeldOut) -> Standing:
    """Judge a model by the rule, the examples and the optima that NMT's own models are judged by.

    Args:
        result: The model.
        reference: A finished NMT chain whose stages give the optima; the chain itself for its own guarantee.
        rule: The rule.
        held_out: Held-out samples and outputs.
    """
    solved = [record for record in reference.records if record.level]
    if not (result.finished and reference.finished and len(solved) == len(rule.levels)):
        return Standing("unknown", ())
    try:
        verdicts = tuple(_verdicts(result, reference, rule, held_out))
    except (KeyError, DamagedError):
        return Standing("unknown", ())
    held = all(found.kept for found in verdicts if found.split == "valid")
    return Standing("held" if held else "broken", verdicts)


def _verdicts(result: TrialResult, reference: TrialResult, rule: Rule, held_out: HeldOut) -> Iterator[Verdict]:
    last = result.records[-1]
    solved = [record for record in reference.records if record.level]
    for split in ("valid", "test"):
        for record, level in zip(solved, rule.levels[:-1], strict=False):
            for task in level:
                if last.key == reference.records[-1].key and (own := last.verdict(task.name, split)) is not None:
                    yield own
                    continue
                paired = held_out.difference(last.key, record.key, task.name, split)
                loss = last.losses[split][task.name]
                found = verdict(task, split, loss, paired, rule.standard_errors, rule.accept_on)
                outputs = held_out.outputs(last.key, task.name, split)
                other = held_out.outputs(record.key, task.name, split).outputs[task.name]
                yield replace(found, metric=metric_deviation(task, outputs, other, rule.standard_errors))
