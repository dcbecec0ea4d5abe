"""How a chain's model stands to the live one: better, level or worse on each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from nmt.orchestrator.summary.wording import finite_or_none, format_difference
from nmt.trainers.records import Deviation, StageRecord, Verdict

Standing = Literal["better", "level", "worse"]

MOST_NUMBERS = 6
"""Of more tasks the sentence has numbers only for those that are worse."""


def standing_of(found: Deviation) -> Standing:
    """Say how a model stands to another one in one quantity.

    ``worse`` is beyond what the acceptance rule allows, ``better`` is better by more than one standard error.
    """
    if not found.held:
        return "worse"
    return "better" if found.worse < -found.standard_error else "level"


def is_worse(valid: Verdict | None, test: Verdict | None) -> bool:
    """Whether a model must not take the live one's place for a task's sake, in what decides.

    On the validation split it must be within the rule. The test split chose nothing, and of several tasks that are
    level there one is soon beyond one standard error: it counts from one further standard error on.
    """
    if valid is not None and not valid.kept:
        return True
    if test is None:
        return False
    found = test.deciding
    return found.worse > found.allowed + found.standard_error


def live_summary(record: StageRecord) -> dict[str, Any] | None:
    """Return how a stage's model stands to the live model, JSON-ready; ``None`` where none is protected.

    Returns:
        ``sentence``; ``worse``, the tasks for which it must not take the live model's place; and ``tasks``, each with
        ``standing`` by split, in what decides, and ``deviation``: ``loss`` and ``metric`` by split.
    """
    if not record.against_live:
        return None
    names = list(dict.fromkeys(verdict.task for verdict in record.against_live))
    by_task = {name: {v.split: v for v in record.against_live if v.task == name} for name in names}
    worse = [name for name, found in by_task.items() if is_worse(found.get("valid"), found.get("test"))]
    return {
        "sentence": _sentence(by_task, worse),
        "worse": worse,
        "tasks": [
            {
                "task": name,
                "standing": {split: standing_of(verdict.deciding) for split, verdict in found.items()},
                "deviation": {
                    "loss": {split: _numbers(verdict.loss) for split, verdict in found.items()},
                    "metric": {split: _numbers(v.metric) for split, v in found.items() if v.metric is not None} or None,
                },
            }
            for name, found in by_task.items()
        ],
    }


def _sentence(by_task: dict[str, dict[str, Verdict]], worse: Sequence[str]) -> str:
    parts = []
    for name, found in by_task.items():
        words = {split: standing_of(verdict.deciding) for split, verdict in found.items()}
        if len(set(words.values())) == 1:
            text = f"{name} {next(iter(words.values()))} on {' and '.join(words)}"
        else:
            text = f"{name} {', '.join(f'{word} on {split}' for split, word in words.items())}"
        shown = len(by_task) <= MOST_NUMBERS or name in worse
        parts.append(f"{text} ({_in_numbers(list(found.values()))})" if shown else text)
    return f"Against the live model: {'; '.join(parts)}."


def _in_numbers(verdicts: Sequence[Verdict]) -> str:
    """Write ``loss -0.0120 ±0.0030 and -0.0100 ±0.0030, auc +0.0100 ±0.0020 and …``, one number per split."""
    parts = [f"loss {_and([verdict.loss for verdict in verdicts])}"]
    metrics = [verdict.metric for verdict in verdicts if verdict.metric is not None]
    if metrics:
        parts.append(f"{metrics[0].quantity} {_and(metrics)}")
    return ", ".join(parts)


def _and(found: Sequence[Deviation]) -> str:
    return " and ".join(format_difference(one.difference, one.standard_error) for one in found)


def _numbers(found: Deviation) -> dict[str, Any]:
    return {
        "live": finite_or_none(found.reference),
        "value": finite_or_none(found.value),
        "difference": finite_or_none(found.difference),
        "standard_error": finite_or_none(found.standard_error),
        "allowed": finite_or_none(found.allowed),
        "held": found.held,
    }
