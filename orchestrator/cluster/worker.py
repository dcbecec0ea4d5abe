"""What each Ray Train worker runs: one chain, all stages, in one worker group."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import ray.train
import ray.train.torch

from orchestrator.cluster.mailbox import MailboxReporter
from orchestrator.errors import RunError
from trainers.data.open_feed import open_feed
from trainers.faults import NumericalError, TrainingError
from trainers.models.build import build_model
from trainers.reporter import Reporter
from trainers.spec.chain_spec import ChainSpec
from trainers.stage.chain import run_chain
from trainers.store.checkpoint_store import CheckpointStore
from trainers.store.stage_claims import StageClaims
from trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class WorkerJob:
    """What a worker needs to know.

    Attributes:
        spec: What to compute.
        data: Prepared folder.
        storage: Where stages are kept.
        reporter: Where the first worker reports.
        import_paths: Folders with the user's own modules.
        stages: How many stages to run; all of them when absent.
        run_uuid: What the run is found by.
    """

    spec: ChainSpec
    data: str
    storage: str
    reporter: MailboxReporter
    import_paths: tuple[str, ...]
    stages: int | None = None
    run_uuid: str = ""


@dataclass(frozen=True)
class Fault:
    """Why a chain cannot go on, however often it is tried; all workers know of it.

    It is returned, not raised: Ray Train would start the workers again.

    Attributes:
        reason: What to tell the user.
        diverged: Whether a number was not finite, which another learning rate may mend.
    """

    reason: str
    diverged: bool

    @classmethod
    def of(cls, error: TrainingError) -> Fault:
        """What an error of the trainers says."""
        return cls(str(error), isinstance(error, NumericalError))


class StageError(RunError):
    """A stage cannot go on.

    Args:
        fault: Why.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def train_chain(config: dict[str, WorkerJob]) -> tuple[str, ...] | Fault:
    """The ``train_loop_per_worker``: returns the keys of the chain's stages, which are in the store by then."""
    job = config["job"]
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
    model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed).to(device)
    reporter: Reporter = job.reporter
    try:
        records = run_chain(
            spec,
            model,
            feed,
            StageStore(job.storage, job.run_uuid),
            reporter,
            CheckpointStore(job.storage),
            StageClaims(job.storage),
            job.stages,
        )
    except TrainingError as error:
        return Fault.of(error)
    return tuple(record.key for record in records)
