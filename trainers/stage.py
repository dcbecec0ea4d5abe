"""One stage: minimise a level's tasks while the earlier ones are held at their optima."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from trainers.acceptance import Verdict, judge
from trainers.candidates import Candidates
from trainers.certificate import Certificate
from trainers.data.feed import Feed
from trainers.evaluation import Evaluation, evaluate
from trainers.history import History
from trainers.losses.task_losses import TaskLosses
from trainers.methods.method import build_method
from trainers.multipliers import Multipliers
from trainers.participation import participating
from trainers.protection import Protection
from trainers.records import Candidate
from trainers.reporter import Evaluated, Progress, Reporter
from trainers.stage_certificate import certify
from trainers.stepper import Stepper
from trainers.stopping import Patience
from trainers.task import Task
from trainers.training import Training
from trainers.violations import build_violations

MOST_KEPT = 1e4
"""Largest multiplier that a backtrack keeps: after steps that diverged it would leave the objective no weight."""

REPORT_SECONDS = 0.5
"""Time between two progress events."""


@dataclass(frozen=True)
class StageResult:
    """What a stage hands on; the model itself holds the accepted θ* when :func:`run_stage` returns.

    Attributes:
        evaluations: Split → evaluation of every task at the accepted θ*.
        verdicts: How it stands to the protected tasks, on ``valid`` and ``test``.
        multipliers: Protected task → λ at the end.
        candidates: Evaluations, in order; the first one is the starting point.
        history: Rows of losses, violations and multipliers.
        accepted_step: Step of the accepted candidate.
        steps: Optimisation steps.
        samples: Examples that they saw, over all workers.
        ended_by: ``plateau`` or ``max_epochs``.
        certificate: How θ* stands to the optimality conditions.
    """

    evaluations: Mapping[str, Evaluation]
    verdicts: tuple[Verdict, ...]
    multipliers: dict[str, float]
    candidates: tuple[Candidate, ...]
    history: History
    accepted_step: int
    steps: int
    samples: int
    ended_by: str
    certificate: Certificate


def run_stage(
    model: nn.Module,
    feed: Feed,
    stage: int,
    level: Sequence[Task],
    protection: Protection,
    losses: TaskLosses,
    training: Training,
    reporter: Reporter,
) -> StageResult:
    """Train one stage from the model's present parameters, and leave the accepted θ* in the model.

    Args:
        model: The parent's θ*, or the initial parameters in stage 0.
        feed: This worker's data.
        stage: Index of the stage.
        level: Tasks to minimise; the objective is the sum of their losses.
        protection: Tasks to hold, with their optima and reference losses.
        losses: The chain's losses.
        training: Training options.
        reporter: Where events go.
    """
    tasks = (*protection.tasks, *level)
    device = next(model.parameters()).device
    multipliers = Multipliers(
        [getattr(optimum, training.measured_on) for optimum in protection.optima],
        rate=training.eta_lambda,
        tolerance=[task.tolerance for task in protection.tasks],
        initial=training.initial_multiplier,
        names=[task.name for task in protection.tasks],
        violation=training.violation,
    ).to(device)
    history = History([task.name for task in tasks], len(protection.tasks), training.record_every, device)
    candidates = Candidates(model, feed, level, protection, losses, training)
    patience = Patience(training.patience, training.min_delta)
    candidate = candidates.evaluate(0)
    reporter.report(Evaluated(stage, candidate))
    patience.update(candidates.best, candidate.verdicts)

    steps_per_epoch = feed.steps_per_epoch()
    due = {
        math.ceil(steps_per_epoch * (n + 1) / training.evaluations_per_epoch)
        for n in range(training.evaluations_per_epoch)
    }
    step = backtracks = 0
    ended_by = "max_epochs"
    probe = next(iter(feed.epoch(stage, 0)))
    with participating(model, probe, tasks, losses):
        violations = build_violations(multipliers, protection, model, feed, losses, stage, training)
        method = build_method(
            training.method, multipliers, model, len(tasks), training.weights, training.method_options
        )
        stepper = Stepper(model, tasks, losses, multipliers, violations, method, training)
        reported = time.monotonic()
        for epoch in range(training.max_epochs):
            for step_in_epoch, batch in enumerate(feed.epoch(stage, epoch), start=1):
                step += 1
                global_losses, measured = stepper.step(batch)
                history.add(step, global_losses, measured, multipliers.values)
                evaluation_due = step_in_epoch in due
                if evaluation_due or time.monotonic() - reported > REPORT_SECONDS:
                    reporter.report(Progress(stage, step, history.flush()))
                    reported = time.monotonic()
                if evaluation_due:
                    for candidate in candidates.try_out(step):
                        reporter.report(Evaluated(stage, candidate))
                    if patience.update(candidates.best, candidates.trained.verdicts):
                        if backtracks == training.backtracks:
                            ended_by = "plateau"
                            break
                        backtracks += 1
                        candidates.restore()
                        stepper.restart(training.eta_theta * training.decay**backtracks)
                        multipliers.values.nan_to_num_(nan=training.initial_multiplier).clamp_(max=MOST_KEPT)
                        patience.restart()
            if ended_by == "plateau":
                break
    history.flush()
    accepted_step = candidates.restore()
    evaluations = {
        split: evaluate(model, feed, split, losses.tasks, losses, mode="train" if split == "train" else "eval")
        for split in ("train", "valid", "test")
    }
    verdicts = [
        verdict
        for split in ("valid", "test")
        for verdict in judge(
            evaluations[split], protection.references.get(split, {}), protection.tasks, training.accept_standard_errors
        )
    ]
    prices = dict(zip(multipliers.names, multipliers.values.tolist(), strict=True))
    certificate = certify(
        model,
        feed,
        level,
        protection.tasks,
        protection.optima,
        prices,
        losses,
        evaluations["train"],
        history.rows,
        training,
    )
    return StageResult(
        evaluations=evaluations,
        verdicts=tuple(verdicts),
        multipliers=prices,
        candidates=tuple(candidates.all),
        history=history,
        accepted_step=accepted_step,
        steps=step,
        samples=feed.examples_in(step),
        ended_by=ended_by,
        certificate=certificate,
    )
