"""Records of chains that nobody trained: plausible curves for pictures, and exact numbers for cells."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Collection, Sequence
from typing import Any

from nmt.trainers.records import Candidate, Deviation, Optimum, Row, StageRecord, Verdict
from nmt.trainers.reporter import StageStarted

SPLITS = ("train", "valid", "test")


def verdict(task: str, difference: float, allowed: float, *, split: str = "valid", optimum: float = 0.5) -> Verdict:
    """A verdict at tolerance 0 and one standard error."""
    return Verdict(
        task=task,
        split=split,
        optimum=optimum,
        value=optimum + difference,
        difference=difference,
        standard_error=allowed,
        allowed=allowed,
        held=difference <= allowed,
    )


def deviation(metric: str, difference: float, allowed: float, *, reference: float = 0.8) -> Deviation:
    """A deviation in a metric of which more is better, at one standard error."""
    return Deviation(
        quantity=metric,
        reference=reference,
        value=reference + difference,
        difference=difference,
        standard_error=allowed,
        allowed=allowed,
        held=-difference <= allowed,
        higher_is_better=True,
    )


def record(
    stage: int,
    level: Sequence[str],
    protected: Sequence[str] = (),
    *,
    number: int | None = None,
    objective: dict[str, float] | None = None,
    verdicts: Sequence[Verdict] = (),
    multipliers: dict[str, float] | None = None,
    losses: dict[str, dict[str, float]] | None = None,
    metrics: dict[str, dict[str, float]] | None = None,
    metric: str | dict[str, str] = "auc",
    optima: dict[str, tuple[float, float]] | None = None,
    candidates: Sequence[Candidate] = (),
    rows: Sequence[Row] = (),
    steps: int = 100,
    accepted_step: int = 60,
) -> StageRecord:
    """A stage's record with the given numbers; ``optima`` maps a task to its train and valid optimum.

    Without a number it is a stage of a chain without stage 0; without an objective it minimises its level alone.
    """
    objective = dict.fromkeys(level, 1.0) if objective is None else objective
    tasks = (*protected, *objective)
    found = {task: (optima or {}).get(task, (0.5, 0.5)) for task in level}
    return StageRecord(
        key=f"key{stage}",
        parent=f"key{stage - 1}" if stage else None,
        stage=stage,
        number=stage + 1 if number is None else number,
        level=tuple(level),
        objective=objective,
        protected=tuple(protected),
        optima=tuple(Optimum(task, train, 1000, valid, 100) for task, (train, valid) in found.items()),
        verdicts=tuple(verdicts),
        multipliers=multipliers if multipliers is not None else dict.fromkeys(protected, 1.0),
        losses=losses or {split: dict.fromkeys(tasks, 0.5) for split in SPLITS},
        metrics=metrics or {split: dict.fromkeys(tasks, 0.8) for split in SPLITS},
        metric_names={task: metric if isinstance(metric, str) else metric[task] for task in tasks},
        accepted_step=accepted_step,
        steps=steps,
        samples=steps * 10,
        steps_per_epoch=50,
        ended_by="plateau",
        wall_seconds=1.5,
        workers=1,
        candidates=tuple(candidates),
        rows=tuple(rows),
    )


def chain(
    levels: Sequence[Sequence[str]],
    *,
    steps: int = 80,
    evaluations: int = 8,
    every: int = 1,
    joint: bool = False,
    idle: Collection[int] = (),
    seed: int = 0,
) -> tuple[StageRecord, ...]:
    """A chain as training would leave it.

    A level's losses fall exponentially to their optima, and in stage 0 those of all tasks to a little above. Later
    tasks stay where they are if they are in the mix, and get worse otherwise. A protected task's loss first exceeds
    its optimum, more than is allowed, while its λ rises; then it comes back within the limit, so that candidates
    become feasible.

    Args:
        levels: Tasks by priority.
        steps: Optimisation steps of a stage.
        evaluations: Candidates of a stage, beside its starting point.
        every: Steps per row.
        joint: Whether stage 0 trains all tasks together first, and later tasks stay in the mix.
        idle: Levels (from 0) whose stages never come back within the limit, and so gain nothing.
        seed: Seed of the noise.
    """
    draw = random.Random(seed)
    tasks = [task for level in levels for task in level]
    level_of = {task: index for index, level in enumerate(levels) for task in level}
    scale = {task: draw.uniform(0.05, 0.7) for task in tasks}
    pressure = {task: draw.random() ** 3 for task in tasks}
    now = {task: 1.3 * scale[task] for task in tasks}  # validation loss at the present θ*
    optimum: dict[str, float] = {}
    metric = dict.fromkeys(tasks, 0.5)
    stages: list[StageRecord] = []

    def excess(task: str, stage: int, part: float) -> float:
        bump = 0.002 * scale[task] * (0.2 + pressure[task])
        trend = 0.02 * scale[task] if stage in idle else -0.2 * bump
        return bump * math.sin(math.pi * min(1.0, part * 1.2)) + trend * part

    def loss(task: str, stage: int, part: float) -> float:
        if level_of[task] < stage:
            return optimum[task] + excess(task, stage, part)
        if stage in (level_of[task], -1):
            lowest = scale[task] if stage >= 0 else 1.05 * scale[task]
            return lowest + (now[task] - lowest) * math.exp(-4 * part)
        return now[task] if joint else now[task] + 0.05 * scale[task] * part

    first = -1 if joint else 0
    for stage in range(first, len(levels)):
        level = levels[stage] if stage >= 0 else ()
        protected = tasks[: tasks.index(level[0])] if level else []
        later = tasks[len(protected) + len(level) :] if joint else []
        objective = dict.fromkeys(level, 1.0) | dict.fromkeys(later, 0.3 if level else 1 / len(tasks))
        candidates: list[Candidate] = []
        best, accepted = math.inf, 0
        for index in range(evaluations + 1):
            part = index / evaluations
            values = {task: loss(task, stage, part) for task in tasks}
            judged = tuple(
                verdict(
                    task,
                    values[task] - optimum[task],
                    0.0008 * scale[task] * (1 + part) if index else 0.0,
                    optimum=optimum[task],
                )
                for task in protected
            )
            feasible = index == 0 or all(one.held for one in judged)
            total = sum(weight * values[task] for task, weight in objective.items())
            better = feasible and total < best
            if better:
                best, accepted = total, index
            step = round(part * steps)
            candidates.append(Candidate(step, values, dict.fromkeys(tasks, 0.8), judged, feasible, better))
        rows = [
            Row(
                step,
                {task: loss(task, stage, step / steps) * draw.gauss(1, 0.04) for task in (*protected, *objective)},
                {task: excess(task, stage, step / steps) for task in protected},
                {task: 1 + 9 * pressure[task] * (1 - math.exp(-3 * step / steps)) for task in protected},
            )
            for step in range(every, steps + 1, every)
        ]
        chosen = candidates[accepted]
        now.update(chosen.losses)
        optimum.update({task: now[task] for task in level})
        metric.update({task: 0.8 if accepted else metric[task] for task in level or tasks})
        stages.append(
            record(
                stage - first,
                level,
                protected,
                number=stage + 1,
                objective=objective,
                verdicts=[
                    verdict(one.task, one.difference, one.allowed, split=split, optimum=one.optimum)
                    for split in ("valid", "test")
                    for one in chosen.verdicts
                ],
                multipliers=dict(rows[-1].multipliers) if rows else None,
                losses={split: dict(now) for split in SPLITS},
                metrics={split: dict(metric) for split in SPLITS},
                optima={task: (0.97 * now[task], now[task]) for task in level},
                candidates=candidates,
                rows=rows,
                steps=steps,
                accepted_step=chosen.step,
            )
        )
    return tuple(stages)


def started(record: StageRecord, *, max_steps: int | None = None, resumed_step: int = 0) -> StageStarted:
    """What a worker reports before it trains a stage."""
    steps = record.steps if max_steps is None else max_steps
    return StageStarted(
        record.stage,
        record.number,
        record.key,
        record.level,
        record.objective,
        record.protected,
        steps,
        resumed_step,
    )


def nulled(record: StageRecord) -> StageRecord:
    """The record with every float outside its keys replaced by what JSON makes of NaN: ``None``."""

    def null(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: null(item) for key, item in value.items()}
        if isinstance(value, list):
            return [null(item) for item in value]
        return None if isinstance(value, float) else value

    return StageRecord.from_json(json.dumps(null(json.loads(record.to_json()))))
