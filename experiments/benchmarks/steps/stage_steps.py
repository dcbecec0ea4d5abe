"""Our side: the steps of a constrained stage, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, pairwise

import torch

from nmt.experiments.benchmarks.steps.problem import Problem
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.methods.method import build_method
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.records import Optimum
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.history import History
from nmt.trainers.stage.protection import Protection
from nmt.trainers.stage.stage import REPORT_SECONDS, VERIFY_EVERY
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, build_violations
from nmt.trainers.workers.agreement import check_agreement

OPTIMUM = 0.6
"""L* of every protected task: near the losses, as in the middle of a stage."""


class StageSteps:
    """The loop of :mod:`nmt.trainers.stage.stage` between two evaluations, one step at a time.

    It includes prefetched batches, the history, this device's checks of a step, and the report twice a second. It
    leaves out evaluations and checkpoints, which are a cost of the run and not of a step.

    Args:
        problem: What to train. With the method ``nmt``, alone or with another inside, all tasks but the last are
            protected; with another method all tasks are the objective.
    """

    def __init__(self, problem: Problem) -> None:
        training = problem.training
        constrained = training.method.startswith("nmt")
        protected = problem.tasks[:-1] if constrained else ()
        feed = problem.feed()
        self.model = problem.build()
        learner = Learner(self.model, feed, TaskLosses(problem.tasks))
        self.multipliers = Multipliers(
            [OPTIMUM] * len(protected),
            rate=training.eta_lambda,
            tolerance=[task.tolerance for task in protected],
            initial=training.initial_multiplier,
            names=[task.name for task in protected],
            violation="relative" if training.relative else "absolute",
        ).to(problem.device)
        references = {
            split: {task.name: _reference(feed.examples(split), problem.device) for task in protected}
            for split in ("train", "valid")
        }
        optima = tuple(Optimum(task.name, OPTIMUM, 1, OPTIMUM, 1) for task in protected)
        protection = Protection(optima, references)
        level = problem.tasks[len(protected) :]
        weights = training.weights or (1.0,) * len(level)
        spec = StageSpec(1, 2, level, (), weights, protected, training, problem.execution)
        terms = Terms(spec, problem.device)
        method = build_method(
            training.method,
            self.multipliers,
            self.model,
            len(problem.tasks),
            training.weights,
            training.method_options,
        )
        self._stepper = Stepper(
            learner,
            spec,
            terms,
            Ascent(self.multipliers, build_violations(learner, spec, protection, self.multipliers)),
            method,
            checked=problem.device.type == "cpu",
        )
        self._stepper.settle(next(iter(feed.epoch(1, 0))))
        self._history = History(
            [task.name for task in problem.tasks], len(protected), problem.execution.record_every, problem.device
        )
        self._pairs = pairwise(_batches(feed))
        self._steps = 0
        self._reported = time.monotonic()

    def step(self) -> None:
        """Take one step of the stage."""
        batch, following = next(self._pairs)
        losses, violations = self._stepper.step(batch, following)
        self._steps += 1
        self._history.add(self._steps, losses, violations, self.multipliers.values)
        if self._steps % VERIFY_EVERY == 0:
            self._stepper.verify()
            check_agreement(self.multipliers, self.model, self._steps)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._history.flush()
            self._reported = time.monotonic()


def _batches(feed: MemoryFeed) -> Iterator[Batch]:
    for epoch in count():
        yield from feed.epoch(1, epoch)


def _reference(examples: int, device: torch.device) -> Samples:
    return Samples(torch.full((examples,), OPTIMUM, device=device), torch.ones(examples, device=device))
