"""The Ray Train worker: one chain, all its stages in one worker group."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import ray.train
import ray.train.torch

from nmt.orchestrator.cluster.mailbox import MailboxReporter
from nmt.orchestrator.errors import RunError
from nmt.trainers.data.open_feed import open_feed
from nmt.trainers.faults import NumericalError, TrainingError
from nmt.trainers.live.build import build_models
from nmt.trainers.reporter import Reporter
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.store.fault_note import FaultNote
from nmt.trainers.store.stage_claims import StageClaims
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.user_code import describe, place_of


@dataclass(frozen=True)
class WorkerJob:
    """Input of a worker.

    Attributes:
        spec: What to compute.
        data: Prepared folder.
        storage: Folder or URI of the finished stages.
        reporter: Reporter of the first worker.
        import_paths: Folders with the user's own modules.
        stages: Number of stages to run; all by default.
        run_uuid: UUID of the MLflow run.
        attempt: Names this start of the workers; those that Ray starts again in their place have the same.
    """

    spec: ChainSpec
    data: str
    storage: str
    reporter: MailboxReporter
    import_paths: tuple[str, ...]
    stages: int | None = None
    run_uuid: str = ""
    attempt: str = ""


@dataclass(frozen=True)
class Fault:
    """A failure that a retry would not mend; all workers agree on it.

    Workers return it instead of raising, or Ray Train would restart them.

    Attributes:
        reason: Message for the user.
        diverged: Whether a number was not finite, which another learning rate may mend.
    """

    reason: str
    diverged: bool

    @classmethod
    def of(cls, error: TrainingError) -> Fault:
        """Return the fault that an error of the trainers describes."""
        return cls(str(error), isinstance(error, NumericalError))


class StageError(RunError):
    """A stage failed in a way that a retry would not mend.

    Args:
        fault: The failure.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def train_chain(config: dict[str, WorkerJob]) -> tuple[str, ...] | Fault:
    """Run the ``train_loop_per_worker``; returns the keys of the chain's stages, which are then in the storage.

    An error of a user's own code is no lost worker. It is noted in the storage, so that the workers that Ray starts in
    place of these end at once; returned by one worker, it would leave the others waiting for it.
    """
    job = config["job"]
    note = FaultNote(job.storage, job.attempt)
    if (reason := note.read()) is not None:
        return Fault(reason, diverged=False)
    try:
        return _train(job)
    except Exception as error:
        if (place := place_of(error)) is not None:
            note.write(f"{describe(error)} in {place}")
        raise


def _train(job: WorkerJob) -> tuple[str, ...] | Fault:
    sys.path.extend(path for path in job.import_paths if path not in sys.path)
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    spec = job.spec
    feed = open_feed(
        spec.ingest,
        job.data,
        [task.label for task in spec.tasks],
        spec.batch_size,
        spec.training.seed,
        context.get_world_rank(),
        context.get_world_size(),
        device,
    )
    reporter: Reporter = job.reporter
    try:
        model, live = build_models(spec, feed.schema, job.data, job.storage, device)
        records = run_chain(
            spec,
            model,
            feed,
            StageStore(job.storage, job.run_uuid),
            reporter,
            CheckpointStore(job.storage),
            StageClaims(job.storage),
            job.stages,
            live,
        )
    except TrainingError as error:
        return Fault.of(error)
    return tuple(record.key for record in records)
