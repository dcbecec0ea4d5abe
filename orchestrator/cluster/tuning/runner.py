"""Runs trials on Ray Tune, on a cluster that starts when the first trial needs it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from nmt.orchestrator.cluster.check import check_cluster
from nmt.orchestrator.cluster.ray_cluster import cluster
from nmt.orchestrator.cluster.tuning.placement import check_trial, max_concurrent, trial_scaling
from nmt.orchestrator.errors import RunError, last_line
from nmt.orchestrator.experiment.sections import Experiment, Scaling
from nmt.orchestrator.trials.trial import Trial
from nmt.trainers.reporter import Event

if TYPE_CHECKING:
    from ray.tune import ResultGrid, Tuner

    from nmt.orchestrator.cluster.tuning.trainable import GroupJob

_ENVIRONMENT = {
    # Ctrl-C ends the command at once; finished stages and checkpoints are kept anyway.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Records go to MLflow and the storage.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Nothing is restored from Tune's snapshots: finished stages are found under their keys.
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Ending:
    """How a trial ended in Ray Tune.

    Attributes:
        status: ``ended`` by itself, ``diverged`` or ``failed``; ``stopped`` before its end, or never started.
        reason: Why it diverged or failed.
    """

    status: Literal["ended", "diverged", "failed", "stopped"]
    reason: str = ""


class TrialRunner:
    """Runs trials; a context manager that shuts down the cluster it started.

    Args:
        experiment: Scaling, storage and Ray Tune's options.
        data: Prepared folder.
        address: Ray cluster to join; ``None`` starts one here.
        verbose: Whether to show Ray's own log.

    Raises:
        RequestError: This machine cannot hold one trial.
    """

    def __init__(self, experiment: Experiment, data: str, address: str | None, verbose: bool) -> None:
        self._scaling = trial_scaling(experiment)
        self._experiment = experiment.model_copy(update={"scaling": self._scaling})
        self._data = data
        self._address = address
        self._verbose = verbose
        self._stack = contextlib.ExitStack()
        self._resources: Mapping[str, float] | None = None
        check_trial(experiment, address)

    def __enter__(self) -> TrialRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(
        self, trials: Mapping[int, Trial], runs: Mapping[int, str], name: str, deliver: Callable[[int, Event], None]
    ) -> dict[int, Ending]:
        """Run trials, as many at a time as fit on the cluster.

        Args:
            trials: Trials by number; they are started in this order.
            runs: UUID of each trial's MLflow run, by number.
            name: Name of the experiment in Ray Tune.
            deliver: Called in a thread with the number of a trial and each of its events.

        Raises:
            RequestError: The cluster cannot hold one trial.
            RunError: Ray cannot be started.
        """
        if not trials:
            return {}
        resources = self._start()
        from nmt.orchestrator.cluster.mailbox import Mailbox
        from nmt.orchestrator.cluster.ray_train import import_paths
        from nmt.orchestrator.cluster.tuning.trainable import GroupJob, TrialJob

        with Mailbox(deliver) as mailbox:
            jobs = {
                number: TrialJob(trial.spec, trial.stages, mailbox.reporter(number), runs[number])
                for number, trial in trials.items()
            }
            job = GroupJob(self._experiment, self._data, import_paths(), jobs, self._scaling.max_workers)
            results = self._fit(self._tuner(trials, job, name, resources))
        return {**dict.fromkeys(trials, Ending("stopped")), **_endings(results)}

    def _start(self) -> Mapping[str, float]:
        """Start or join the cluster, once; returns its resources."""
        if self._resources is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            # Without the dashboard's process Ray Train leaks the placement group of a trial that Tune stops.
            with_dashboard = self._scaling.max_workers > 1
            resources = self._stack.enter_context(cluster(self._address, self._verbose, with_dashboard))
            check_cluster(self._scaling, self._experiment.storage, self._data, "tune.workers_per_trial")
            if not self._verbose:  # Tune logs a traceback for every retry; the last one is reported in any case
                logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            self._resources = resources
        return self._resources

    def _tuner(self, trials: Mapping[int, Trial], job: GroupJob, name: str, resources: Mapping[str, float]) -> Tuner:
        from ray import tune

        from nmt.orchestrator.cluster.tuning.trainable import train_trial

        options, scaling = self._experiment.tune, self._scaling
        trainable = tune.with_parameters(train_trial, job=job)
        configs = [{"number": number, "label": trial.label, **trial.params} for number, trial in trials.items()]
        return tune.Tuner(
            tune.with_resources(trainable, _trial_resources(scaling)),
            param_space={"trial": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=max_concurrent(scaling, resources, options.max_concurrent_trials),
                time_budget_s=options.time_budget_s,
                reuse_actors=scaling.max_workers == 1,
                trial_dirname_creator=lambda trial: f"trial-{trial.config['trial']['number']}-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=f"{name}-{uuid.uuid4().hex[:8]}",
                storage_path=f"{self._experiment.storage.rstrip('/')}/ray",
                failure_config=tune.FailureConfig(
                    max_failures=0 if options.fail_fast else options.max_failures, fail_fast=options.fail_fast
                ),
                stop=dict(options.stop) or None,
                verbose=0,
            ),
        )

    def _fit(self, tuner: Tuner) -> ResultGrid:
        from ray import tune

        # Tune prints its own tables whatever its verbosity.
        with contextlib.nullcontext() if self._verbose else contextlib.redirect_stdout(io.StringIO()):
            try:
                return tuner.fit()
            except tune.TuneError as error:
                raise RunError(f"Ray Tune failed: {error}") from error


def _endings(results: ResultGrid) -> dict[int, Ending]:
    """Return the endings of the trials that Tune did not stop, by number."""
    endings = {}
    for result in (results[place] for place in range(len(results))):
        metrics: dict[str, Any] = result.metrics or {}
        number = _trial_number(result.path)
        if result.error is not None:
            endings[number] = Ending("failed", last_line(result.error))
        elif metrics.get("fault"):
            endings[number] = Ending("diverged" if metrics["diverged"] else "failed", metrics["fault"])
        elif "fault" in metrics:
            endings[number] = Ending("ended")
    return endings


def _trial_resources(scaling: Scaling) -> dict[str, float]:
    """Return what Ray Tune reserves for a trial.

    A trial that starts a worker group must not reserve its workers' resources too, or trials would wait for each other
    forever. It reserves one byte of memory, since Tune requires a reservation and every cluster has that.
    """
    if scaling.max_workers > 1:
        return {"CPU": 0, "memory": 1}
    return {"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})}


def _trial_number(path: str) -> int:
    """Return a trial's number from its folder: a trial that never reported has no config in its metrics."""
    return int(path.rpartition("/trial-")[2].partition("-")[0])
