"""A chain: one stage per level, in order of priority, each found under its key or trained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from nmt.trainers.data.feed import Feed
from nmt.trainers.evaluation.constant import constant_losses
from nmt.trainers.evaluation.evaluation import Evaluation, evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.evaluation.live_evaluation import evaluate_live
from nmt.trainers.evaluation.references import HELD_OUT, gathered_outputs, gathered_references
from nmt.trainers.faults import NonFiniteStepError, StorageError, TrainingError
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.records import Optimum, StageRecord, Verdict
from nmt.trainers.reporter import CheckpointFailed, NullReporter, Reporter, StageAwaited, StageFinished, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.followed import trim_curves
from nmt.trainers.stage.limits import Limits
from nmt.trainers.stage.precision import computing_in
from nmt.trainers.stage.stage import Stage, StageResult
from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.store.stage_checkpoints import StageCheckpoints
from nmt.trainers.store.stage_claims import Claim, StageClaims
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.workers.process_group import broadcast_object, rank, run_on_first_worker, world_size
from nmt.trainers.workers.random_state import seed_everything

POLL_SECONDS = 0.2
"""Time between two looks for a stage that another process trains."""


def run_chain(
    spec: ChainSpec,
    model: nn.Module,
    feed: Feed,
    store: StageStore,
    reporter: Reporter,
    checkpoints: CheckpointStore | None = None,
    claims: StageClaims | None = None,
    stages: int | None = None,
    live: nn.Module | None = None,
) -> tuple[StageRecord, ...]:
    """Run all stages inside the present worker group; every worker calls this.

    Args:
        spec: What to compute.
        model: Initial parameters, the same on every worker, on the device to train on.
        feed: This worker's data.
        store: Where finished stages are found and kept.
        reporter: Where events go; called on the first worker only.
        checkpoints: Where the stage that is being trained is kept every so often; it goes on from there when it was cut
            off. Without, it starts anew.
        claims: Who trains which stage, where several chains share some: a stage that another process trains is waited
            for. Without, nobody asks.
        stages: How many stages to run; all of them when absent.
        live: The live model, where ``spec.live`` names one: it reads today's batches, and computes in its own
            precision.

    Raises:
        TrainingError: A stage cannot go on; on every worker alike.

    Returns:
        The records of these stages, on every worker.
    """
    learner = Learner(model, feed, TaskLosses(spec.tasks))
    chain = _Chain(spec, learner, store, reporter if rank() == 0 else NullReporter(), checkpoints, claims)
    if live is not None:
        chain.protect(live)
    with computing_in(spec.training.precision, model):
        return chain.run(stages)


class _Chain:
    def __init__(
        self,
        spec: ChainSpec,
        learner: Learner,
        store: StageStore,
        reporter: Reporter,
        checkpoints: CheckpointStore | None,
        claims: StageClaims | None,
    ) -> None:
        self._spec = spec
        self._learner = learner
        self._model = learner.model
        self._feed = learner.feed
        self._store = store
        self._reporter = reporter
        self._checkpoints = checkpoints
        self._claims = claims
        self._keys = spec.stage_keys()
        self._records: list[StageRecord] = []
        self._limits = Limits(learner.device, spec.training.accept_on)

    def protect(self, live: nn.Module) -> None:
        """Take the live model's losses on these data as limits, from the store or by evaluation."""
        key, tasks = self._spec.live_key(), self._spec.live_tasks
        record = broadcast_object(self._store.read(key) if rank() == 0 else None)
        if record is None:
            learner = Learner(live, self._feed, self._learner.losses)
            record, references, outputs = evaluate_live(learner, tasks, key)
            try:
                run_on_first_worker(lambda: self._store.write(record, {}, references, outputs))
            except OSError as error:
                raise StorageError(
                    f"the live model's losses cannot be kept: {error}; make room in the storage and run again"
                ) from error
        kept = self._store.outputs(key) if rank() == 0 else None
        self._limits.add_live(record, self._store.references(key), kept, tasks)

    def run(self, stages: int | None) -> tuple[StageRecord, ...]:
        keys = self._keys[:stages]
        for stage, key in zip(self._spec.stages, keys, strict=False):
            last = stage.index + 1 == len(keys)
            with self._claimed(stage):
                record = broadcast_object(self._store.read(key) if rank() == 0 else None)
                reused = record is not None
                if record is None:
                    record = self._train(stage, last)
            if reused:
                self._model.load_state_dict(self._store.state(key))
                if last:
                    self._complete_references(stage)
            if self._checkpoints is not None and rank() == 0:
                self._checkpoints.clear(key)  # a stage that has its record needs none
            outputs = self._store.outputs(key) if rank() == 0 else None
            self._limits.add(record, self._store.references(key), outputs, stage.level)
            self._records.append(record)
            self._reporter.report(StageFinished(record, reused))
        return tuple(self._records)

    @contextmanager
    def _claimed(self, stage: StageSpec) -> Iterator[None]:
        """A stage that is finished, or that nobody else trains meanwhile."""
        claims, key = self._claims, self._keys[stage.index]
        if claims is None:
            yield
            return
        held: list[Claim] = []

        def wait() -> None:
            waited = False
            while self._store.read(key) is None:
                if (claim := claims.try_claim(key)) is not None:
                    held.append(claim)
                    return
                if not waited:
                    level = tuple(task.name for task in stage.level)
                    self._reporter.report(StageAwaited(stage.index, stage.number, key, level))
                    waited = True
                time.sleep(POLL_SECONDS)

        try:
            run_on_first_worker(wait)
            yield
        finally:
            for claim in held:
                claim.release()

    def _train(self, stage: StageSpec, last: bool) -> StageRecord:
        """Train a stage and keep it.

        The last stage of a run also keeps the held-out samples of what it protects: its model is what other chains'
        are compared with. In every stage they would grow with the square of the number of tasks.
        """
        try:
            result = self._result(stage)
        except TrainingError as error:
            raise type(error)(f"{stage.name}, {error}") from error
        record = broadcast_object(self._record(stage, result))
        references = gathered_references(
            result.evaluations, stage.level, self._kept_beside(stage) if last else (), self._feed
        )
        outputs = gathered_outputs(result.evaluations, self._spec.tasks if last else stage.level)
        try:
            run_on_first_worker(lambda: self._store.write(record, self._model.state_dict(), references, outputs))
        except OSError as error:
            raise StorageError(
                f"{stage.name} is trained and cannot be kept: {error}; make room in the storage, or name another one, "
                "and run again: the stage goes on from its last checkpoint"
            ) from error
        return record

    def _complete_references(self, stage: StageSpec) -> None:
        """Add what the last stage of a run keeps to a stage that was on the way of a longer one."""
        key, others = self._keys[stage.index], self._kept_beside(stage)

        def is_missing() -> bool:
            return not {task.name for task in others} <= self._store.references(key).sums["valid"].keys()

        if not broadcast_object(is_missing() if rank() == 0 else False):
            return
        evaluations = {
            split: evaluate(self._learner, split, with_metrics=False, keep_outputs=True) for split in ("valid", "test")
        }
        found = gathered_references(evaluations, (), others, self._feed)
        outputs = gathered_outputs(evaluations, others)
        try:
            run_on_first_worker(lambda: self._store.add_references(key, found, outputs))
        except OSError as error:
            raise StorageError(
                f"{stage.name} is finished, and what it is compared by cannot be kept: {error}; make room in "
                "the storage and run again"
            ) from error

    def _kept_beside(self, stage: StageSpec) -> tuple[Task, ...]:
        """Tasks whose held-out samples the last stage of a run keeps, beside those of its level: all others."""
        return tuple(task for task in self._spec.tasks if task not in stage.level)

    def _result(self, stage: StageSpec) -> StageResult:
        """Train from the last checkpoint, or from the stage's start.

        On a GPU steps are checked one by one only after one was found not finite: the stage then goes back and looks.
        """
        checkpoints = self._checkpoints_of(stage)
        checked = _looks_at_every_step(self._model)
        start = {} if checked else {name: value.clone() for name, value in self._model.state_dict().items()}
        while True:
            checkpoint = checkpoints.latest() if checkpoints is not None else None
            self._reporter.report(self._started(stage, checkpoint["step"] if checkpoint is not None else 0))
            seed_everything(stage.settings.seed, stage.index, rank())
            try:
                protection = self._limits.protection(stage.protected)
                return Stage(self._learner, stage, protection, self._reporter, checkpoints, checked).run(checkpoint)
            except NonFiniteStepError:
                self._model.load_state_dict(start)
                checked = True
            finally:
                if checkpoints is not None:
                    checkpoints.wait()

    def _checkpoints_of(self, stage: StageSpec) -> StageCheckpoints | None:
        if self._checkpoints is None:
            return None
        return StageCheckpoints(
            self._checkpoints,
            self._keys[stage.index],
            lambda step, reason: self._reporter.report(CheckpointFailed(stage.index, step, reason)),
        )

    def _started(self, stage: StageSpec, resumed_step: int) -> StageStarted:
        return StageStarted(
            stage=stage.index,
            number=stage.number,
            key=self._keys[stage.index],
            level=tuple(task.name for task in stage.level),
            objective=stage.objective_weights,
            protected=tuple(task.name for task in stage.protected),
            max_steps=stage.settings.max_epochs * self._feed.steps_per_epoch(),
            resumed_step=resumed_step,
        )

    def _record(self, stage: StageSpec, result: StageResult) -> StageRecord:
        train, valid = result.evaluations["train"], result.evaluations["valid"]
        names = [task.name for task in stage.level]
        whole = StageRecord(
            key=self._keys[stage.index],
            parent=self._keys[stage.index - 1] if stage.index else None,
            stage=stage.index,
            number=stage.number,
            objective=stage.objective_weights,
            level=tuple(names),
            protected=tuple(task.name for task in stage.protected),
            optima=tuple(
                Optimum(name, train.losses[name], train.samples[name], valid.losses[name], valid.samples[name])
                for name in names
            ),
            verdicts=result.verdicts,
            multipliers=result.multipliers,
            losses={split: evaluation.losses for split, evaluation in result.evaluations.items()},
            metrics={split: evaluation.metrics for split, evaluation in result.evaluations.items()},
            metric_names={task.name: task.metric for task in self._spec.tasks},
            accepted_step=result.accepted_step,
            steps=result.steps,
            samples=result.samples,
            steps_per_epoch=self._feed.steps_per_epoch(),
            ended_by=result.ended_by,
            wall_seconds=sum(result.seconds.values()),
            workers=world_size(),
            candidates=result.candidates,
            rows=tuple(result.history.rows),
            certificate=result.certificate,
            seconds=result.seconds,
            live=self._limits.live_among(stage.protected),
            against_live=self._against_live(stage, result.evaluations),
            constants=constant_losses(self._learner) if stage.index == 0 else {},
        )
        return trim_curves(whole)

    def _against_live(self, stage: StageSpec, evaluations: Mapping[str, Evaluation]) -> tuple[Verdict, ...]:
        """Compare a stage's result with the live model, whichever limits it had; every worker calls this."""
        tasks = self._spec.live_tasks
        protection, all_live = self._limits.live_protection(tasks), replace(stage, protected=tasks)
        return tuple(
            verdict
            for split in HELD_OUT
            for verdict in protection.judge(all_live, evaluations[split], with_metrics=True)
        )


def _looks_at_every_step(model: nn.Module) -> bool:
    """Where the host need not wait for a device."""
    return next(model.parameters()).device.type == "cpu"
