"""One stage: minimise a level's tasks while the earlier ones are held at their optima."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from trainers.acceptance import References, Verdict, judge
from trainers.certificate import Certificate
from trainers.data.batch import Batch
from trainers.data.feed import Feed
from trainers.evaluation import Evaluation, evaluate
from trainers.history import History
from trainers.losses.samples import Samples
from trainers.losses.task_losses import TaskLosses
from trainers.methods.method import Method, build_method
from trainers.multipliers import Multipliers
from trainers.optimizer import build_optimizer
from trainers.participation import participating
from trainers.pending_losses import PendingLosses
from trainers.process_group import sum_over_workers, world_size
from trainers.records import Candidate, Optimum
from trainers.reporter import Evaluated, Progress, Reporter
from trainers.stage_certificate import certify
from trainers.stopping import Patience
from trainers.task import Task
from trainers.training import Training
from trainers.violations import HeldOutViolations, MinibatchViolations, PairedViolations, Violations

MOST_KEPT = 1e4
"""Largest multiplier that a backtrack keeps: after steps that diverged it would leave the objective no weight."""

REPORT_SECONDS = 0.5
"""Time between two progress events."""


@dataclass(frozen=True)
class Protection:
    """What a stage must not break.

    Attributes:
        tasks: Protected tasks, by priority.
        optima: Their optima, in the same order.
        references: Split → task → this worker's samples at the task's θ*.
    """

    tasks: tuple[Task, ...] = ()
    optima: tuple[Optimum, ...] = ()
    references: Mapping[str, References] = field(default_factory=dict)


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
    candidates = _Candidates(model, feed, level, protection, losses, training)
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
        violations = _violations(multipliers, protection, model, feed, losses, stage, training)
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


class Stepper:
    """One optimisation step: one forward pass, one backward pass, one all-reduce of gradients, one of the losses.

    Every worker's losses are divided by the counts of *all* workers, so the sum over workers of what each contributes
    is the global mean, and the gradient is that of the global objective. The losses are all-reduced
    during the backward pass.

    Args:
        model: The model; its participating parameters have ``requires_grad``.
        tasks: The stage's tasks, protected ones first.
        losses: The chain's losses.
        multipliers: The stage's multipliers.
        violations: Where their violations come from.
        method: How the gradient is made.
        training: Training options.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        losses: TaskLosses,
        multipliers: Multipliers,
        violations: Violations,
        method: Method,
        training: Training,
    ) -> None:
        averaged = world_size() > 1 and not method.reduces_gradients
        self._model: nn.Module = _averaging(model) if averaged else model
        self._method = method
        self._tasks = tuple(tasks)
        self._losses = losses
        self._multipliers = multipliers
        self._violations = violations
        self._measured = torch.zeros_like(multipliers.values)
        self._steps = 0
        self._restart = partial(build_optimizer, model, training)
        self._optimizer = self._restart(training.eta_theta)
        self._clip_norm = training.clip_norm
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def restart(self, rate: float) -> None:
        """Go on with a fresh optimiser of this learning rate."""
        self._optimizer = self._restart(rate)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take a step on θ and one on λ, from the same losses.

        Returns:
            The global losses, shape ``(tasks,)``, and the signed violations last measured, shape ``(protected,)``. No
            host synchronisation takes place.
        """
        samples, counts, contributions = self._contributions(batch)
        losses = PendingLosses(contributions)
        self._optimizer.zero_grad(set_to_none=True)
        self._method.backward(contributions, losses)
        global_losses = losses.values()
        due = len(self._measured) > 0 and self._steps % self._violations.every == 0
        if due:  # before θ moves: both updates use the same parameters
            self._measured = self._violations.measure(batch, samples, counts, global_losses)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
        if due:
            self._multipliers.ascend_by(self._measured * self._violations.every)
        self._method.observe(partial(self._losses_again, batch))
        self._steps += 1
        return global_losses, self._measured

    def _contributions(self, batch: Batch) -> tuple[Samples, Tensor, Tensor]:
        samples = self._losses(self._model(batch), batch, self._tasks)
        counts = sum_over_workers(samples.counts.sum(0, dtype=torch.float64))
        return samples, counts, samples.sums.sum(0) / counts.clamp(min=1).to(samples.sums.dtype)

    @torch.no_grad()
    def _losses_again(self, batch: Batch) -> Tensor:
        return PendingLosses(self._contributions(batch)[2]).values()


def _averaging(model: nn.Module) -> DistributedDataParallel:
    # Buffers are broadcast at every step; only running statistics need it, and most models here have none.
    running = any(isinstance(module, _NormBase) for module in model.modules())
    return DistributedDataParallel(model, broadcast_buffers=running)


def _violations(
    multipliers: Multipliers,
    protection: Protection,
    model: nn.Module,
    feed: Feed,
    losses: TaskLosses,
    stage: int,
    training: Training,
) -> Violations:
    if not protection.tasks:
        return MinibatchViolations(multipliers)
    references = protection.references[training.measured_on]
    if training.measured_on == "valid":
        return HeldOutViolations(
            multipliers, references, protection.tasks, model, feed, losses, stage, training.measure_every
        )
    if training.paired:
        return PairedViolations(multipliers, references, protection.tasks)
    return MinibatchViolations(multipliers)


class _Candidates:
    """Evaluated candidates of a stage, and the parameters of the best feasible one."""

    def __init__(
        self,
        model: nn.Module,
        feed: Feed,
        level: Sequence[Task],
        protection: Protection,
        losses: TaskLosses,
        training: Training,
    ) -> None:
        self._model = model
        self._feed = feed
        self._level = level
        self._protection = protection
        self._losses = losses
        self._standard_errors = training.accept_standard_errors
        self._retreats = training.retreats
        self._weights = training.weights or (1.0,) * len(level)
        self._state: dict[str, Tensor] = {}
        self._step = 0
        self.best = math.inf
        self.all: list[Candidate] = []

    @property
    def trained(self) -> Candidate:
        """The last candidate that is the trained model itself."""
        return next(candidate for candidate in reversed(self.all) if candidate.share == 1)

    def try_out(self, step: int) -> Iterator[Candidate]:
        """Evaluate the trained model, and points on the way to it if it is better but not feasible."""
        trained = self.evaluate(step)
        yield trained
        if trained.feasible or not self._objective(trained.losses) < self.best:
            return
        here = {name: value.clone() for name, value in self._model.state_dict().items()}
        start = self._state
        for number in range(1, self._retreats + 1):
            share = 0.5**number
            self._model.load_state_dict({name: _between(start[name], here[name], share) for name in here})
            candidate = self.evaluate(step, share)
            yield candidate
            if candidate.feasible:
                break
        self._model.load_state_dict(here)

    def evaluate(self, step: int, share: float = 1.0) -> Candidate:
        """Evaluate the model as it stands; keep its parameters when it is the best feasible candidate.

        The starting point (step 0) is the parent's accepted θ*, which kept every earlier limit: always feasible.
        """
        evaluation = evaluate(self._model, self._feed, "valid", self._losses.tasks, self._losses)
        references = self._protection.references.get("valid", {})
        verdicts = judge(evaluation, references, self._protection.tasks, self._standard_errors)
        feasible = step == 0 or all(verdict.held for verdict in verdicts)
        objective = self._objective(evaluation.losses)
        accepted = step == 0 or (feasible and objective < self.best)
        if accepted:
            self.best = objective if math.isfinite(objective) else math.inf
            self._step = step
            self._state = {name: value.clone() for name, value in self._model.state_dict().items()}
        candidate = Candidate(step, evaluation.losses, evaluation.metrics, verdicts, feasible, accepted, share)
        self.all.append(candidate)
        return candidate

    def _objective(self, losses: Mapping[str, float]) -> float:
        return sum(weight * losses[task.name] for task, weight in zip(self._level, self._weights, strict=True))

    def restore(self) -> int:
        """Put the best feasible candidate's parameters back into the model; returns its step."""
        self._model.load_state_dict(self._state)
        return self._step


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    return torch.lerp(start, end, share) if end.is_floating_point() else end
