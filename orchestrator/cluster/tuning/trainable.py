"""What a Ray Tune trial runs: one chain, inside the trial's own reused actor or on workers of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
from ray import tune

from orchestrator.cluster.mailbox import MailboxReporter
from orchestrator.cluster.tuning.feed_cache import cached_feed
from orchestrator.cluster.worker import Fault, StageError
from orchestrator.experiment.sections import Experiment
from trainers.faults import TrainingError
from trainers.models.build import build_model
from trainers.records import StageRecord
from trainers.reporter import Evaluated, Event, Progress, StageFinished
from trainers.spec.chain_spec import ChainSpec
from trainers.stage.chain import run_chain
from trainers.store.checkpoint_store import CheckpointStore
from trainers.store.stage_claims import StageClaims
from trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class TrialJob:
    """What the actor of a trial needs to know.

    Attributes:
        spec: What to compute.
        stages: How many stages of it; all of them when absent.
        reporter: Where events go.
        run_uuid: What the trial's run is found by.
    """

    spec: ChainSpec
    stages: int | None
    reporter: MailboxReporter
    run_uuid: str


@dataclass(frozen=True)
class GroupJob:
    """What all trials of a group share.

    Attributes:
        experiment: Scaling and storage.
        data: Prepared folder.
        import_paths: Folders with the user's own modules.
        trials: The trials, by number.
        workers: Workers of a trial; one trains in the trial's own actor.
    """

    experiment: Experiment
    data: str
    import_paths: tuple[str, ...]
    trials: dict[int, TrialJob]
    workers: int


def train_trial(config: dict[str, Any], job: GroupJob) -> dict[str, Any]:
    """Ray Tune's trainable.

    Args:
        config: ``trial``: its ``number``, and what it is called.
        job: What all trials share.

    Returns:
        ``fault`` and ``diverged`` where a stage cannot go on, however often it is tried; else nothing but ``done``.
        What was computed is in the storage.
    """
    sys.path.extend(path for path in job.import_paths if path not in sys.path)
    trial = job.trials[config["trial"]["number"]]
    try:
        if job.workers > 1:
            _on_workers(trial, job)
        else:
            _in_this_process(trial, job)
    except TrainingError as error:
        return _told(Fault.of(error))
    except StageError as error:
        return _told(error.fault)
    return {"fault": "", "diverged": False}


def _told(fault: Fault) -> dict[str, Any]:
    return {"fault": fault.reason, "diverged": fault.diverged}


def _in_this_process(trial: TrialJob, job: GroupJob) -> None:
    spec = trial.spec
    device = torch.device("cuda" if job.experiment.scaling.use_gpu else "cpu")
    feed = cached_feed(spec, job.data, device)
    model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed).to(device)
    storage = job.experiment.storage
    run_chain(
        spec,
        model,
        feed,
        StageStore(storage, trial.run_uuid),
        _TrialReporter(trial.reporter),
        CheckpointStore(storage),
        StageClaims(storage),
        trial.stages,
    )


def _on_workers(trial: TrialJob, job: GroupJob) -> None:
    from orchestrator.cluster import ray_train

    records = ray_train.run(job.experiment, trial.spec, job.data, trial.reporter, trial.stages, trial.run_uuid)
    for record in records:
        tune.report(stage_metrics(record))


class _TrialReporter:
    """Tells the driver what it needs of a chain of many, and Ray Tune of each finished stage."""

    def __init__(self, mail: MailboxReporter) -> None:
        self._mail = mail

    def report(self, event: Event) -> None:
        """Send an event, without the history: that is in the stage's record."""
        if isinstance(event, Evaluated):
            return
        self._mail.report(replace(event, rows=event.rows[-1:]) if isinstance(event, Progress) else event)
        if isinstance(event, StageFinished):
            tune.report(stage_metrics(event.record))


def stage_metrics(record: StageRecord) -> dict[str, Any]:
    """What Ray Tune gets to know of a finished stage, and may be told to stop by."""
    return {
        "stage": record.stage + 1,
        "steps": record.steps,
        "samples": record.samples,
        "held": record.held,
        **{f"valid/loss/{task}": value for task, value in record.losses["valid"].items()},
        **{
            f"valid/{record.metric_names[task].rpartition(':')[2]}/{task}": value
            for task, value in record.metrics["valid"].items()
        },
    }
