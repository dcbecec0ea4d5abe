"""A finished chain in words and numbers: what each task lost or gained, and whether its guarantee held."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from nmt.orchestrator.summary.limits import against_limit, share_of_limit
from nmt.orchestrator.summary.live import live_summary
from nmt.orchestrator.summary.on_test import sentences_on_test
from nmt.orchestrator.summary.wording import MOST_NAMES, finite_or_none, is_share, join_names, level_name
from nmt.trainers.certificate import Certificate
from nmt.trainers.records import Deviation, StageRecord, Verdict


def chain_summary(records: Sequence[StageRecord]) -> dict[str, Any]:
    """Return the content of the chain's table, JSON-ready; a number that is unknown or not finite is ``None``.

    Args:
        records: Records of a chain's stages, in order.

    Returns:
        ``tasks`` by priority, ``stages`` in order (0 is the joint start, k solves level k), ``held``, ``sentence``, and
        ``live``, how the model stands to the live one (:func:`~nmt.orchestrator.summary.live.live_summary`). Each task
        has:

        * ``optimum``: mean loss at the accepted θ* of the stage that solved it, on ``train`` (L* itself), ``valid`` and
          ``test``;
        * ``test_loss``: mean test loss at the end of the chain;
        * ``constant``: loss of the best constant prediction on ``valid`` and ``test``; ``None`` for your own;
        * ``accepted_step`` of the task's own stage, and all its ``steps``;
        * ``deviation``: how far the model at the end of the chain is from the task's θ*: ``loss`` and ``metric``, each
          with ``valid`` and ``test``, each with ``difference``, its paired ``standard_error``, ``allowed`` and
          ``held``; ``None`` for a task that no stage protects, or a metric that was not compared;
        * ``test_metric``: its value after joint training (``start``; where the chain has no stage 0, after the stage
          that solved the task) and at the end of the chain, their ``change``, and the same in ``points`` (hundredths);
        * ``multiplier``: λ at the end of the last stage;
        * ``guarantee``: ``status`` on the validation split (``held``, ``broken`` or ``not protected``), ``against``
          (``optimum``, the task's own, or ``live``, the live model's loss where that is the limit), ``accept_on``
          (``loss`` or ``metric``: which of the two decides), ``text``, the comparison with the limit, and
          ``share_of_limit``, the share of what is allowed that the task uses, ``None`` beyond any number.

    Raises:
        ValueError: ``records`` is empty.
    """
    if not records:
        raise ValueError("a chain has at least one stage, found no record")
    live = live_summary(records[-1])
    return {
        "held": records[-1].held,
        "sentence": " ".join(
            [
                _sentence(records),
                *sentences_on_test(records[-1].verdicts, records[-1].live),
                *_at_the_edge(records),
                *_out_of_reach(records),
                *_balance(records),
                *([live["sentence"]] if live is not None else []),
            ]
        ),
        "live": live,
        "tasks": [_task(task, record, records) for record in records for task in record.level],
        "stages": [_stage(record) for record in records],
    }


def _task(task: str, solved: StageRecord, records: Sequence[StageRecord]) -> dict[str, Any]:
    first, last = records[0], records[-1]
    optimum = next((optimum for optimum in solved.optima if optimum.task == task), None)
    valid = last.verdict(task, "valid")
    metric = last.metric_names.get(task) or ""
    # Before its own stage a task may be untrained: no model of it, and nothing to compare with.
    before = first if first.number == 0 else solved
    at_first, at_end = finite_or_none(_at(before.metrics, task)), finite_or_none(_at(last.metrics, task))
    change = None if at_first is None or at_end is None else at_end - at_first
    return {
        "task": task,
        "stage": solved.number,
        "stage_key": solved.key,
        "metric": metric.rpartition(":")[2] or None,
        "optimum": {
            "train": finite_or_none(optimum.train if optimum else None),
            "valid": finite_or_none(optimum.valid if optimum else None),
            "test": finite_or_none(_at(solved.losses, task)),
        },
        "test_loss": finite_or_none(_at(last.losses, task)),
        "constant": {split: finite_or_none(first.constants.get(split, {}).get(task)) for split in ("valid", "test")},
        "accepted_step": solved.accepted_step,
        "steps": solved.steps,
        "deviation": None if valid is None else deviations(last.verdicts, task),
        "test_metric": {
            "start": at_first,
            "end": at_end,
            "change": change,
            "points": 100 * change if change is not None and is_share(metric) else None,
        },
        "multiplier": finite_or_none(last.multipliers.get(task)),
        "guarantee": {
            "status": "not protected",
            "against": None,
            "accept_on": None,
            "text": None,
            "share_of_limit": None,
        }
        if valid is None
        else {
            "status": "held" if valid.kept else "broken",
            "against": "live" if task in last.live else "optimum",
            "accept_on": valid.accept_on,
            "text": against_limit(valid),
            "share_of_limit": finite_or_none(share_of_limit(valid)),
        },
    }


def deviations(verdicts: Sequence[Verdict], task: str) -> dict[str, Any]:
    """Return how far a model is from a task's optimum, in loss and in metric, by split; JSON-ready.

    Args:
        verdicts: Verdicts on the model.
        task: A protected task.
    """
    own = {verdict.split: verdict for verdict in verdicts if verdict.task == task}
    metrics = {split: verdict.metric for split, verdict in own.items() if verdict.metric is not None}
    return {
        "loss": {split: _deviation(verdict.loss) for split, verdict in own.items()},
        "metric": {split: _deviation(metric) for split, metric in metrics.items()} or None,
    }


def _deviation(found: Deviation) -> dict[str, Any]:
    return {
        "difference": finite_or_none(found.difference),
        "standard_error": finite_or_none(found.standard_error),
        "allowed": finite_or_none(found.allowed),
        "held": found.held,
    }


def _stage(record: StageRecord) -> dict[str, Any]:
    return {
        "stage": record.number,
        "stage_key": record.key,
        "level": list(record.level),
        "objective": dict(record.objective),
        "protected": list(record.protected),
        "live": list(record.live),
        "held": record.held,
        "gained": record.gained,
        "accepted_step": record.accepted_step,
        "accepted_evaluation": record.accepted_evaluation,
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
    broken = [verdict for verdict in verdicts if not verdict.kept]
    if broken:
        names = join_names([f"{verdict.task} ({against_limit(verdict)} allowed)" for verdict in broken])
        guarantee = f"Not every guarantee held: beyond the limit on the validation split {_is_or_are(broken)} {names}."
    elif verdicts:
        names = join_names([verdict.task for verdict in verdicts])
        limit = "its limit" if len(verdicts) == 1 else "their limits"
        guarantee = f"Every guarantee held: {names} {_is_or_are(verdicts)} within {limit} on the validation split."
    else:
        guarantee = "Nothing was protected: one level was solved."
    idle = [record for record in records if not record.gained]
    constant = no_better_than_constant(records)
    if not idle and not constant:
        return f"{guarantee} Every stage gained."
    found = [guarantee]
    if idle:
        found.append(f"{_stages(idle)} gained nothing.")
    if constant:
        found.append(
            f"{join_names(constant)} {'is' if len(constant) == 1 else 'are'} no better than a constant prediction: on "
            "the validation split the loss at the end of the own stage is not below that of the best constant."
        )
    return " ".join(found)


def no_better_than_constant(records: Sequence[StageRecord]) -> list[str]:
    """Return the tasks whose own stage ended with a validation loss that the best constant has too."""
    constants = records[0].constants.get("valid", {})
    return [
        task
        for record in records
        for task in record.level
        if task in constants and not record.losses["valid"].get(task, math.nan) < constants[task]
    ]


def _at_the_edge(records: Sequence[StageRecord]) -> Iterator[str]:
    """Yield what stages that accepted their first or their last evaluation may lack."""
    first = [record for record in records if record.accepted_evaluation == "first"]
    if first:
        yield (
            f"{_stages(first)} accepted the first evaluation: more frequent ones may find a better model, see "
            "execution.evaluations_per_epoch."
        )
    last = [record for record in records if not record.converged]
    if last:
        yield (
            f"{_stages(last)} {_is_or_are(last)} not converged: the last evaluation is the best, and more epochs may "
            "gain more, see training.max_epochs."
        )


def _stages(records: Sequence[StageRecord]) -> str:
    names = join_names([f"{record.number} ({level_name(record.level)})" for record in records])
    return f"{'Stage' if len(records) == 1 else 'Stages'} {names}"


def _out_of_reach(records: Sequence[StageRecord]) -> Iterator[str]:
    """Yield a sentence per stage whose certificate reports tasks as not attainable."""
    found = [record for record in records if record.certificate is not None and record.certificate.not_attainable]
    if len(found) > MOST_NAMES:
        stages = join_names([f"{record.number} ({level_name(record.level)})" for record in found])
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
