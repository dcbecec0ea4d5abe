"""One stage: minimise a level's tasks while the earlier ones are held at their optima."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nmt.trainers.certificate import Certificate
from nmt.trainers.data.batch import Batch
from nmt.trainers.evaluation.evaluation import Evaluation, evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.pace import evaluation_steps, evaluations_per_epoch
from nmt.trainers.evaluation.stage_certificate import certify
from nmt.trainers.faults import NumericalError, TrainingError
from nmt.trainers.methods.method import Method, build_method
from nmt.trainers.methods.names import CONSTRAINED, FAMO, WEIGHTED_SUM
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.records import Candidate, Verdict
from nmt.trainers.reporter import Evaluated, Progress, Reporter
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.candidates import Candidates
from nmt.trainers.stage.history import History
from nmt.trainers.stage.participation import participating
from nmt.trainers.stage.protection import Protection
from nmt.trainers.stage.stepper import Stepper
from nmt.trainers.stage.stopping import Patience
from nmt.trainers.stage.stopwatch import Stopwatch
from nmt.trainers.stage.terms import Terms
from nmt.trainers.stage.violations import Ascent, build_violations
from nmt.trainers.store.stage_checkpoints import StageCheckpoints
from nmt.trainers.workers.agreement import check_agreement
from nmt.trainers.workers.process_group import gather_objects, rank, world_size
from nmt.trainers.workers.random_state import random_state, restore_random_state, seed_everything

MOST_KEPT = 1e4
"""Largest multiplier that a backtrack keeps: after steps that diverged it would leave the objective no weight."""

REPORT_SECONDS = 0.5
"""Time between two progress events."""

VERIFY_EVERY = 100
"""Steps between two looks at whether workers agree, and at the flag of steps that are not checked one by one."""


@dataclass(frozen=True)
class StageResult:
    """What a stage hands on; the model itself holds the accepted θ* when :meth:`Stage.run` returns.

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
        seconds: Seconds of this worker by what they went to: ``start``, ``steps`` (waiting for data included),
            ``evaluation``, ``checkpoints`` and ``certificate``; those that led to the checkpoint from which the stage
            went on are included.
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
    seconds: Mapping[str, float]
    certificate: Certificate


class Stage:
    """A stage while it is trained: everything that a checkpoint holds is reached from here.

    Training starts from the model's present parameters (the parent's θ*, or the initial ones) and leaves the accepted
    θ* in the model.

    Args:
        learner: The model, its data and its losses.
        spec: What to compute.
        protection: Tasks to hold, with their optima and reference losses.
        reporter: Where events go.
        checkpoints: Where checkpoints are kept; none are made when absent.
        checked: Whether every step is checked for numbers that are not finite, which makes the host wait for a GPU.
    """

    def __init__(
        self,
        learner: Learner,
        spec: StageSpec,
        protection: Protection,
        reporter: Reporter,
        checkpoints: StageCheckpoints | None = None,
        checked: bool = True,
    ) -> None:
        settings = spec.settings
        self._learner = learner
        self._spec = spec
        self._protection = protection
        self._reporter = reporter
        self._checkpoints = checkpoints
        self._checked = checked
        self._terms = Terms(spec, learner.device)
        split = "valid" if settings.violations == "held_out" else "train"
        self._multipliers = Multipliers(
            [getattr(optimum, split) for optimum in protection.optima],
            rate=settings.eta_lambda,
            tolerance=[task.tolerance for task in spec.protected],
            initial=[spec.multipliers.get(task.name, settings.initial_multiplier) for task in spec.protected],
            names=[task.name for task in spec.protected],
            violation="relative" if settings.relative else "absolute",
            proportional=settings.proportional,
            smoothing=settings.smoothing,
        ).to(learner.device)
        self._history = History(
            [task.name for task in spec.tasks], len(spec.protected), spec.execution.record_every, learner.device
        )
        self._candidates = Candidates(learner, spec, protection)
        constrained = bool(spec.protected)
        patience = settings.constrained_patience if constrained else settings.patience
        self._patience = Patience(patience, settings.min_delta)
        self._most_backtracks = settings.constrained_backtracks if constrained else settings.backtracks
        self._step = 0
        self._watch = Stopwatch("start")
        self._backtracks = 0
        self._reported = time.monotonic()

    def run(self, checkpoint: Mapping[str, Any] | None = None) -> StageResult:
        """Train, evaluate what was accepted, and certify it; every worker calls this, once.

        Args:
            checkpoint: One to go on from.

        Raises:
            NumericalError: A number is not finite.
            DisagreementError: Workers hold different multipliers or parameters.
            NonFiniteStepError: ``checked`` is off, and a number may not have been finite.
        """
        probe = next(iter(self._learner.feed.epoch(self._spec.index, 0)))
        with participating(self._learner, probe, self._spec.tasks):
            method = self._build_method()
            stepper = self._build_stepper(method, probe)
            if checkpoint is None:
                with self._watch.part("evaluation"):
                    start = self._candidates.evaluate(0)
                    self._check_method(start)
                    self._evaluate(stepper, [start])
            else:
                self._resume(checkpoint, stepper)
            with self._watch.part("steps"):
                ended_by = self._train(stepper)
        return self._result(ended_by, method)

    def _check_method(self, start: Candidate) -> None:
        """Refuse losses that the method cannot balance, before the first step."""
        if FAMO not in self._spec.settings.method:
            return
        for task in self._spec.tasks:
            if (loss := start.losses[task.name]) <= 0:
                raise TrainingError(
                    f"at the start: method {self._spec.settings.method} balances the logarithms of losses, and task "
                    f"{task.name!r} has the loss {loss:g} on the validation split; use a loss that is positive (add a "
                    "constant to it), or another method"
                )

    def _build_method(self) -> Method:
        spec, settings = self._spec, self._spec.settings
        joint = CONSTRAINED if spec.protected else WEIGHTED_SUM
        return build_method(
            joint if spec.is_joint else settings.method,
            self._multipliers,
            self._learner.model,
            self._terms.count,
            spec.weights if spec.is_joint else settings.weights,
            settings.method_options,
        )

    def _build_stepper(self, method: Method, probe: Batch) -> Stepper:
        violations = build_violations(self._learner, self._spec, self._protection, self._multipliers)
        ascent = Ascent(self._multipliers, violations)
        stepper = Stepper(self._learner, self._spec, self._terms, ascent, method, self._checked)
        stepper.settle(probe)
        return stepper

    def _train(self, stepper: Stepper) -> str:
        execution, feed = self._spec.execution, self._learner.feed
        per_epoch = feed.steps_per_epoch()
        due = evaluation_steps(evaluations_per_epoch(execution.evaluations_per_epoch, feed), per_epoch)
        every = execution.checkpoint_every if self._checkpoints else 0
        for batch, following in _with_following(self._batches()):
            losses, violations = stepper.step(batch, following)
            self._step += 1
            self._history.add(self._step, losses, violations, self._multipliers.values)
            evaluation_due = (self._step - 1) % per_epoch + 1 in due
            checkpoint_due = every > 0 and self._step % every == 0
            if evaluation_due or checkpoint_due or self._step % VERIFY_EVERY == 0:
                stepper.verify()
                check_agreement(self._multipliers, self._learner.model, self._step)
            if evaluation_due or time.monotonic() - self._reported > REPORT_SECONDS:
                self._reporter.report(Progress(self._spec.index, self._step, self._history.flush(wait=evaluation_due)))
                self._reported = time.monotonic()
            if evaluation_due:
                with self._watch.part("evaluation"):
                    over = self._evaluate(stepper, self._candidates.try_out(self._step))
                if over:
                    return "plateau"
            if checkpoint_due:
                with self._watch.part("checkpoints"):
                    self._write_checkpoint(stepper)
        return "max_epochs"

    def _batches(self) -> Iterator[Batch]:
        """Training minibatches from the present step to the end of the budget."""
        epoch, start = divmod(self._step, self._learner.feed.steps_per_epoch())
        for number in range(epoch, self._spec.settings.max_epochs):
            yield from self._learner.feed.epoch(self._spec.index, number, start=start)
            start = 0

    def _evaluate(self, stepper: Stepper, candidates: Iterable[Candidate]) -> bool:
        """Record candidates; return whether the stage is over."""
        for candidate in candidates:
            self._reporter.report(Evaluated(self._spec.index, candidate))
        if not self._patience.update(self._candidates.best, self._candidates.trained.verdicts):
            return False
        if self._backtracks == self._most_backtracks:
            return True
        self._backtracks += 1
        self._candidates.restore()
        stepper.restart(self._spec.settings.eta_theta * self._spec.settings.decay**self._backtracks)
        self._multipliers.values.clamp_(max=MOST_KEPT)
        self._patience.restart()
        return False

    def _write_checkpoint(self, stepper: Stepper) -> None:
        assert self._checkpoints is not None
        state = {
            "step": self._step,
            "seconds": self._watch.seconds(),
            "backtracks": self._backtracks,
            "model": self._learner.model.state_dict(),
            "stepper": stepper.state_dict(),
            "candidates": self._candidates.state_dict(),
            "patience": self._patience.state_dict(),
            "history": self._history.state_dict(),
            # By worker. With another number of workers the generators are seeded anew instead.
            "random": gather_objects(random_state(self._learner.device)),
        }
        self._checkpoints.write(self._step, state)

    def _resume(self, state: Mapping[str, Any], stepper: Stepper) -> None:
        self._step = state["step"]
        self._watch.go_on_from(state["seconds"])
        self._backtracks = state["backtracks"]
        self._learner.model.load_state_dict(state["model"])
        stepper.load_state_dict(state["stepper"])
        self._candidates.load_state_dict(state["candidates"])
        self._patience.load_state_dict(state["patience"])
        self._history.load_state_dict(state["history"])
        # An event may have been lost with the process that sent it: all is said again; listeners know what they had.
        self._reporter.report(Progress(self._spec.index, self._step, self._history.flush()))
        for candidate in self._candidates.all:
            self._reporter.report(Evaluated(self._spec.index, candidate))
        if len(state["random"]) == world_size():
            restore_random_state(state["random"][rank()], self._learner.device)
        else:
            seed_everything(self._spec.settings.seed, self._spec.index, rank(), self._step)

    def _result(self, ended_by: str, method: Method) -> StageResult:
        self._history.flush()
        accepted_step = self._candidates.restore()
        with self._watch.part("evaluation"):
            evaluations = {
                split: evaluate(
                    self._learner,
                    split,
                    mode="train" if split == "train" else "eval",
                    keep_samples=split != "train" or self._learner.feed.shards_train_by_index,
                    keep_outputs=split != "train",
                )
                for split in ("train", "valid", "test")
            }
        self._check_optima(evaluations)
        with self._watch.part("evaluation"):
            verdicts = [
                verdict
                for split in ("valid", "test")
                for verdict in self._protection.judge(self._spec, evaluations[split], with_metrics=True)
            ]
        names, values = self._multipliers.names, self._multipliers.values
        train = values.new_tensor([evaluations["train"].losses[task.name] for task in self._spec.tasks])
        prices = method.shadow_prices(values, self._terms(train))
        with self._watch.part("certificate"):
            certificate = certify(
                self._learner,
                self._spec,
                self._protection.optima,
                dict(zip(names, prices.tolist(), strict=True)),
                evaluations["train"],
                self._history.rows,
                self._step,
            )
        return StageResult(
            evaluations=evaluations,
            verdicts=tuple(verdicts),
            multipliers=dict(zip(names, values.tolist(), strict=True)),
            candidates=tuple(self._candidates.all),
            history=self._history,
            accepted_step=accepted_step,
            steps=self._step,
            samples=self._learner.feed.examples_in(self._step),
            ended_by=ended_by,
            seconds=self._watch.seconds(),
            certificate=certificate,
        )

    def _check_optima(self, evaluations: Mapping[str, Evaluation]) -> None:
        """Later stages are measured against these numbers."""
        for split in ("train", "valid"):
            for task in self._spec.level:
                value = evaluations[split].losses[task.name]
                if not math.isfinite(value):
                    raise NumericalError(
                        f"at the end of the stage, after {self._step} steps: the loss of task {task.name!r} on the "
                        f"{split} split is {value}; look for labels or features there that are not finite, or lower "
                        "training.eta_theta"
                    )


def _with_following(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    """Each batch with the one after it; the last one with ``None``."""
    iterator = iter(batches)
    batch = next(iterator, None)
    while batch is not None:
        following = next(iterator, None)
        yield batch, following
        batch = following
