"""One chain on Ray Train: all stages in one worker group."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

# By its own path, since ray.train.torch.TorchTrainer depends on the environment: only the second version of Ray Train
# returns what the workers return.
from ray.train.v2.torch.torch_trainer import TorchTrainer

from orchestrator.errors import RunError
from orchestrator.experiment import Experiment
from orchestrator.mailbox import Mailbox
from orchestrator.worker import Fault, WorkerJob, train_chain
from trainers.chain_spec import ChainSpec
from trainers.records import StageRecord
from trainers.reporter import Event
from trainers.stage_store import StageStore


def run(
    experiment: Experiment, spec: ChainSpec, data: str, deliver: Callable[[Event], None]
) -> tuple[StageRecord, ...]:
    """Run a chain on the present Ray cluster and return its records.

    Args:
        experiment: Scaling and storage.
        spec: What to compute.
        data: Prepared folder.
        deliver: Called with every event of the first worker, in a thread.

    Raises:
        RunError: A worker failed, or the workers could not be placed.
    """
    scaling = experiment.scaling
    with Mailbox(deliver) as mailbox:
        job = WorkerJob(spec, data, experiment.storage, mailbox.reporter, (str(Path.cwd()), *sys.path[:1]))
        trainer = TorchTrainer(
            train_chain,
            train_loop_config={"job": job},
            scaling_config=ScalingConfig(
                num_workers=scaling.most if scaling.fewest == scaling.most else (scaling.fewest, scaling.most),
                use_gpu=scaling.use_gpu,
                resources_per_worker={
                    "CPU": scaling.cpus_per_worker,
                    **({"GPU": 1} if scaling.use_gpu else {}),
                },
            ),
            torch_config=TorchConfig(timeout_s=math.ceil(scaling.hang_timeout_s)),
            run_config=RunConfig(
                name=f"chain-{spec.stage_keys()[-1]}",
                storage_path=f"{experiment.storage.rstrip('/')}/ray",
                # Ray waits for ever for workers that cannot be placed unless controller failures are counted.
                failure_config=FailureConfig(max_failures=scaling.max_failures, controller_failure_limit=3),
                logging_config=LoggingConfig(
                    log_level=logging.getLevelName(logging.getLogger("ray.train").getEffectiveLevel())
                ),
            ),
        )
        try:
            result: Any = trainer.fit()
        except WorkerGroupError as error:
            rank, cause = next(iter(sorted(error.worker_failures.items())))
            raise RunError(f"worker {rank} failed: {_last_line(cause)}") from error
        except TrainingFailedError as error:
            raise RunError(f"Ray Train failed: {_last_line(error)}") from error
    outcome: tuple[str, ...] | Fault = result.return_value
    if isinstance(outcome, Fault):
        raise RunError(outcome.reason)
    keys = outcome
    store = StageStore(experiment.storage)
    records = tuple(store.read(key) for key in keys)
    missing = [key for key, record in zip(keys, records, strict=True) if record is None]
    if missing:
        raise RunError(
            f"stages {', '.join(missing)} are not in {experiment.storage}; do all workers share this storage?"
        )
    return tuple(record for record in records if record is not None)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
