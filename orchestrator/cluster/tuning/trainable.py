"""The trainable of Ray Tune: one chain, inside the trial's own reused actor or on a worker group."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
from ray import tune

from nmt.orchestrator.cluster.mailbox import MailboxReporter
from nmt.orchestrator.cluster.tuning.feed_cache import cached_feed
from nmt.orchestrator.cluster.worker import Fault, StageError
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.faults import TrainingError
from nmt.trainers.live.build import build_models
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Evaluated, Event, Progress, StageFinished
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.store.stage_claims import StageClaims
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.user_code import describe, place_of


@dataclass(frozen=True)
class TrialJob:
    """Input of one trial.

    Attributes:
        spec: What to compute.
        stages: Number of stages to run; all when ``None``.
        reporter: Reporter of the trial's events.
        run_uuid: UUID of the trial's MLflow run.
    """

    spec: ChainSpec
    stages: int | None
    reporter: MailboxReporter
    run_uuid: str


@dataclass(frozen=True)
class GroupJob:
    """Input that all trials of a group share.

    Attributes:
        experiment: Scaling and storage.
        data: Prepared folder.
        import_paths: Folders with the user's own modules.
        trials: The trials, by number.
        workers: Workers of a trial; a single one trains in the trial's own actor.
    """

    experiment: Experiment
    data: str
    import_paths: tuple[str, ...]
    trials: dict[int, TrialJob]
    workers: int


def train_trial(config: dict[str, Any], job: GroupJob) -> dict[str, Any]:
    """Train one trial; the function that Ray Tune calls.

    Args:
        config: ``trial``: its ``number``, label and params.
        job: What all trials share.

    Returns:
        ``fault`` and ``diverged``: a failure that a retry would not mend, or an empty ``fault``. Results are in the
        storage.
    """
    sys.path.extend(path for path in job.import_paths if path not in sys.path)
    trial = job.trials[config["trial"]["number"]]
    try:
        if job.workers > 1:
            _train_on_workers(trial, job)
        else:
            _train_in_process(trial, job)
    except TrainingError as error:
        return _metrics(Fault.of(error))
    except StageError as error:
        return _metrics(error.fault)
    except Exception as error:
        if (place := place_of(error)) is None:
            raise
        return _metrics(Fault(f"{describe(error)} in {place}", diverged=False))  # a user's code: no lost worker
    return {"fault": "", "diverged": False}


def _metrics(fault: Fault) -> dict[str, Any]:
    return {"fault": fault.reason, "diverged": fault.diverged}


def _train_in_process(trial: TrialJob, job: GroupJob) -> None:
    spec = trial.spec
    device = torch.device("cuda" if job.experiment.scaling.use_gpu else "cpu")
    feed = cached_feed(spec, job.data, device)
    storage = job.experiment.storage
    model, live = build_models(spec, feed.schema, job.data, storage, device)
    run_chain(
        spec,
        model,
        feed,
        StageStore(storage, trial.run_uuid),
        _TrialReporter(trial.reporter),
        CheckpointStore(storage),
        StageClaims(storage),
        trial.stages,
        live,
    )


def _train_on_workers(trial: TrialJob, job: GroupJob) -> None:
    from nmt.orchestrator.cluster import ray_train

    records = ray_train.run(job.experiment, trial.spec, job.data, trial.reporter, trial.stages, trial.run_uuid)
    for record in records:
        tune.report(stage_metrics(record))


class _TrialReporter:
    """Reports to the driver what it needs of one chain among many, and each finished stage to Ray Tune."""

    def __init__(self, mail: MailboxReporter) -> None:
        self._mail = mail

    def report(self, event: Event) -> None:
        """Report an event without its history, which is in the stage's record."""
        if isinstance(event, Evaluated):
            return
        self._mail.report(replace(event, rows=event.rows[-1:]) if isinstance(event, Progress) else event)
        if isinstance(event, StageFinished):
            tune.report(stage_metrics(event.record))


def stage_metrics(record: StageRecord) -> dict[str, Any]:
    """Return the metrics of a finished stage for Ray Tune; ``tune.stop`` may name them."""
    return {
        "stage": record.number,
        "steps": record.steps,
        "samples": record.samples,
        "held": record.held,
        **{f"valid/loss/{task}": value for task, value in record.losses["valid"].items()},
        **{
            f"valid/{record.metric_names[task].rpartition(':')[2]}/{task}": value
            for task, value in record.metrics["valid"].items()
        },
    }
