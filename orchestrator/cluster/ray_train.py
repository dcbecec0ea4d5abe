"""One chain on Ray Train: all stages in one worker group."""

from __future__ import annotations

import logging
import math
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

# Imported from its module, since ray.train.torch.TorchTrainer depends on the environment, and only version 2 of Ray
# Train returns what the workers return.
from ray.train.v2.torch.torch_trainer import TorchTrainer

from nmt.orchestrator.cluster.mailbox import MailboxReporter
from nmt.orchestrator.cluster.ray_cluster import PLACEMENT_ATTEMPT_SECONDS
from nmt.orchestrator.cluster.worker import Fault, StageError, WorkerJob, train_chain
from nmt.orchestrator.errors import RunError, last_line
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.records import StageRecord
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.store.fault_note import FaultNote
from nmt.trainers.store.stage_store import StageStore


def run(
    experiment: Experiment,
    spec: ChainSpec,
    data: str,
    reporter: MailboxReporter,
    stages: int | None = None,
    run_uuid: str = "",
) -> tuple[StageRecord, ...]:
    """Run a chain on this process's Ray cluster, and return its records.

    Args:
        experiment: Scaling and storage.
        spec: What to compute.
        data: Prepared folder.
        reporter: Reporter of the first worker.
        stages: Number of stages to run; all by default.
        run_uuid: UUID of the MLflow run, which the records of the stages that it trains keep.

    Raises:
        StageError: A stage fails in a way that a retry would not mend.
        RunError: A worker failed, or the workers could not be placed.
    """
    scaling = experiment.scaling
    fewest, most = scaling.min_workers, scaling.max_workers
    attempt = uuid.uuid4().hex
    job = WorkerJob(spec, data, experiment.storage, reporter, import_paths(), stages, run_uuid, attempt)
    trainer = TorchTrainer(
        train_chain,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=fewest if fewest == most else (fewest, most),
            use_gpu=scaling.use_gpu,
            resources_per_worker={
                "CPU": scaling.cpus_per_worker,
                **({"GPU": 1} if scaling.use_gpu else {}),
            },
        ),
        torch_config=TorchConfig(timeout_s=math.ceil(scaling.hang_timeout_s)),
        run_config=RunConfig(
            name=f"chain-{spec.stage_keys()[:stages][-1]}",
            storage_path=f"{experiment.storage.rstrip('/')}/ray",
            # Without a limit on controller failures Ray waits forever for workers that cannot be placed: each placement
            # attempt that times out counts as one failure.
            failure_config=FailureConfig(
                max_failures=scaling.max_failures,
                controller_failure_limit=math.ceil(scaling.placement_timeout_s / PLACEMENT_ATTEMPT_SECONDS),
            ),
            logging_config=LoggingConfig(
                log_level=logging.getLevelName(logging.getLogger("ray.train").getEffectiveLevel())
            ),
        ),
    )
    try:
        result: Any = trainer.fit()
    except WorkerGroupError as error:
        rank, cause = next(iter(sorted(error.worker_failures.items())))
        raise RunError(f"worker {rank} failed: {last_line(cause)}") from error
    except TrainingFailedError as error:
        raise RunError(f"Ray Train failed: {last_line(error)}") from error
    finally:
        FaultNote(experiment.storage, attempt).delete()
    outcome: tuple[str, ...] | Fault = result.return_value
    if isinstance(outcome, Fault):
        raise StageError(outcome)
    return read_records(experiment.storage, outcome)


def read_records(storage: str, keys: Sequence[str]) -> tuple[StageRecord, ...]:
    """Read the records of stages that the workers report as finished.

    Raises:
        RunError: One of them is not in the storage.
    """
    store = StageStore(storage)
    found = {key: store.read(key) for key in keys}
    if missing := [key for key, record in found.items() if record is None]:
        raise RunError(f"stages {', '.join(missing)} are not in {storage}; do all workers share this storage?")
    return tuple(record for record in found.values() if record is not None)


def import_paths() -> tuple[str, ...]:
    """Return the folders with the user's own modules."""
    return (str(Path.cwd()), *sys.path[:1])
