"""A finished chain in words and numbers: what each task lost or gained, and whether its guarantee held."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.summary.limits import against_limit
from orchestrator.summary.wording import MOST_NAMES, finite_or_none, is_share, join_names, level_name
from trainers.certificate import Certificate
from trainers.records import StageRecord


def chain_summary(records: Sequence[StageRecord]) -> dict[str, Any]:
    """Return the content of the chain's table, JSON-ready; a number that is unknown or not finite is ``None``.

    Args:
        records: Records of a chain's stages, in order.

    Returns:
        ``tasks`` by priority, ``stages`` in order (both count stages from 1), ``held`` and ``sentence``. Each task
        has:

        * ``optimum``: mean loss at the accepted θ* of the stage that solved it, on ``train`` (L* itself), ``valid`` and
          ``test``;
        * ``test_loss``: mean test loss at the end of the chain;
        * ``difference``: test loss at the end minus test loss at θ*, paired, with its ``standard_error``; ``None`` for
          a task that no stage protects;
        * ``test_metric``: its value at the end of stage 1 and of the chain, their ``change``, and the same in
          ``points`` (hundredths);
        * ``multiplier``: λ at the end of the last stage;
        * ``guarantee``: ``status`` (``held``, ``broken`` or ``not protected``), and ``difference`` and ``allowed`` on
          the validation split.

    Raises:
        ValueError: ``records`` is empty.
    """
    if not records:
        raise ValueError("a chain has at least one stage, found no record")
    return {
        "held": records[-1].held,
        "sentence": " ".join([_sentence(records), *_out_of_reach(records), *_balance(records)]),
        "tasks": [_task(task, record, records) for record in records for task in record.level],
        "stages": [_stage(record) for record in records],
    }


def _task(task: str, solved: StageRecord, records: Sequence[StageRecord]) -> dict[str, Any]:
    first, last = records[0], records[-1]
    optimum = next((optimum for optimum in solved.optima if optimum.task == task), None)
    test, valid = last.verdict(task, "test"), last.verdict(task, "valid")
    metric = last.metric_names.get(task) or ""
    at_first, at_end = finite_or_none(_at(first.metrics, task)), finite_or_none(_at(last.metrics, task))
    change = None if at_first is None or at_end is None else at_end - at_first
    return {
        "task": task,
        "stage": solved.stage + 1,
        "stage_key": solved.key,
        "metric": metric.rpartition(":")[2] or None,
        "optimum": {
            "train": finite_or_none(optimum.train if optimum else None),
            "valid": finite_or_none(optimum.valid if optimum else None),
            "test": finite_or_none(_at(solved.losses, task)),
        },
        "test_loss": finite_or_none(_at(last.losses, task)),
        "difference": None
        if test is None
        else {"value": finite_or_none(test.difference), "standard_error": finite_or_none(test.standard_error)},
        "test_metric": {
            "stage_1": at_first,
            "end": at_end,
            "change": change,
            "points": 100 * change if change is not None and is_share(metric) else None,
        },
        "multiplier": finite_or_none(last.multipliers.get(task)),
        "guarantee": {"status": "not protected", "difference": None, "allowed": None, "text": None}
        if valid is None
        else {
            "status": "held" if valid.held else "broken",
            "difference": finite_or_none(valid.difference),
            "allowed": finite_or_none(valid.allowed),
            "text": against_limit(valid),
        },
    }


def _stage(record: StageRecord) -> dict[str, Any]:
    return {
        "stage": record.stage + 1,
        "stage_key": record.key,
        "level": list(record.level),
        "protected": list(record.protected),
        "held": record.held,
        "gained": record.gained,
        "accepted_step": record.accepted_step,
        "steps": record.steps,
        "samples": record.samples,
        "ended_by": record.ended_by,
        "wall_seconds": finite_or_none(record.wall_seconds),
        "seconds": {name: finite_or_none(value) for name, value in record.seconds.items()},
        "certificate": None if record.certificate is None else _certificate(record.certificate),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "stationarity": finite_or_none(certificate.stationarity),
        "gradient_norm": finite_or_none(certificate.gradient_norm),
        "feasibility": {task: finite_or_none(value) for task, value in certificate.feasibility.items()},
        "slackness": {task: finite_or_none(value) for task, value in certificate.slackness.items()},
        "shadow_prices": {task: finite_or_none(value) for task, value in certificate.shadow_prices.items()},
        "not_attainable": list(certificate.not_attainable),
        "examples": certificate.examples,
        "grouped": certificate.grouped,
    }


def _sentence(records: Sequence[StageRecord]) -> str:
    verdicts = [verdict for verdict in records[-1].verdicts if verdict.split == "valid"]
    broken = [verdict for verdict in verdicts if not verdict.held]
    if broken:
        names = join_names([f"{verdict.task} ({against_limit(verdict)} allowed)" for verdict in broken])
        guarantee = f"Not every guarantee held: beyond the limit on the validation split {_is_or_are(broken)} {names}."
    elif verdicts:
        names = join_names([verdict.task for verdict in verdicts])
        limit = "its limit" if len(verdicts) == 1 else "their limits"
        guarantee = f"Every guarantee held: {names} {_is_or_are(verdicts)} within {limit} on the validation split."
    else:
        guarantee = "Nothing was protected: the chain has one stage."
    idle = [f"{record.stage + 1} ({level_name(record.level)})" for record in records if not record.gained]
    if not idle:
        return f"{guarantee} Every stage gained."
    return f"{guarantee} {'Stage' if len(idle) == 1 else 'Stages'} {join_names(idle)} gained nothing."


def _out_of_reach(records: Sequence[StageRecord]) -> Iterator[str]:
    """Yield a sentence per stage whose certificate reports tasks as not attainable."""
    found = [record for record in records if record.certificate is not None and record.certificate.not_attainable]
    if len(found) > MOST_NAMES:
        stages = join_names([f"{record.stage + 1} ({level_name(record.level)})" for record in found])
        yield (
            f"In stages {stages} tasks cannot be held together with what the stage minimises: λ kept rising while "
            "their violations did not shrink; allow tolerances."
        )
        return
    for record in found:
        tasks = record.certificate.not_attainable if record.certificate else ()
        if tasks:
            until = "Beyond the accepted model, " if record.gained else ""
            whose = "its violation" if len(tasks) == 1 else "their violations"
            yield (
                f"{until}{join_names(tasks)} cannot be held together with {level_name(record.level)}: "
                f"λ kept rising while {whose} did not shrink; allow a tolerance."
            )


def _balance(records: Sequence[StageRecord]) -> Iterator[str]:
    """Yield the stationarity of the stages with an active constraint; without one it is 1 whatever the stage did."""
    found = {
        level_name(record.level): record.certificate.stationarity
        for record in records
        if record.certificate is not None
        and math.isfinite(record.certificate.stationarity)
        and any(price > 0 for price in record.certificate.shadow_prices.values())
    }
    if not found:
        return
    if len(found) <= MOST_NAMES:
        values = join_names([f"{value:.2f} ({level})" for level, value in found.items()])
    else:
        largest = max(found, key=lambda level: found[level])
        values = f"{min(found.values()):.2f} to {found[largest]:.2f} ({largest})"
    yield f"Stationarity, 0 where objective and constraints balance, 1 at most: {values}."


def _is_or_are(many: Sequence[object]) -> str:
    return "is" if len(many) == 1 else "are"


def _at(by_split: Any, task: str) -> float | None:
    value = by_split.get("test", {}).get(task)
    return None if value is None else float(value)
