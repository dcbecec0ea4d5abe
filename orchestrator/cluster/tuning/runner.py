"""Runs trials on Ray Tune, on a cluster that is started when the first trial needs it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.ray_cluster import cluster
from orchestrator.cluster.tuning.placement import check_trial, max_concurrent, trial_scaling
from orchestrator.errors import RunError
from orchestrator.experiment.sections import Experiment
from orchestrator.trials.trial import Trial
from trainers.reporter import Event

_ENVIRONMENT = {
    # Ctrl-C ends the command at once; finished stages and checkpoints are kept anyway.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Records go to MLflow and the storage.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Nothing is restored from Tune's own snapshots: what is finished is found under its key.
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Ending:
    """How Ray Tune saw a trial end.

    Attributes:
        status: ``ended`` by itself, ``diverged`` or ``failed``; ``stopped`` before its end, or never started.
        reason: Why it did not end well.
    """

    status: Literal["ended", "diverged", "failed", "stopped"]
    reason: str = ""


class TrialRunner:
    """A context, at whose end a cluster that was started is shut down.

    Args:
        experiment: Scaling, storage and Ray Tune's options.
        data: Prepared folder.
        address: Ray cluster to join; ``None`` starts one here.
        verbose: Whether Ray's own log goes to the terminal.

    Raises:
        RequestError: This machine cannot hold one trial.
    """

    def __init__(self, experiment: Experiment, data: str, address: str | None, verbose: bool) -> None:
        self._experiment = experiment
        self._data = data
        self._address = address
        self._verbose = verbose
        self._scaling = trial_scaling(experiment)
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
        """Run trials, as many at once as there is room for.

        Args:
            trials: Trials by number; they are started in this order.
            runs: What the run of each is found by.
            name: What Ray Tune calls them together.
            deliver: Called with the number of a trial and each of its events, in a thread.

        Raises:
            RequestError: The cluster cannot hold one trial.
            RunError: Ray cannot be started.
        """
        if not trials:
            return {}
        resources = self._start()
        from ray import tune

        from orchestrator.cluster.mailbox import Mailbox
        from orchestrator.cluster.ray_train import import_paths
        from orchestrator.cluster.tuning.trainable import GroupJob, TrialJob, train_trial

        options, scaling = self._experiment.tune, self._scaling
        experiment = self._experiment.model_copy(update={"scaling": scaling})
        alone = scaling.max_workers == 1
        with Mailbox(deliver) as mailbox:
            jobs = {
                number: TrialJob(trial.spec, trial.stages, mailbox.reporter(number), runs[number])
                for number, trial in trials.items()
            }
            job = GroupJob(experiment, self._data, import_paths(), jobs, scaling.max_workers)
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(train_trial, job=job), _of_trial(scaling)),
                param_space={"trial": tune.grid_search([_shown(number, trial) for number, trial in trials.items()])},
                tune_config=tune.TuneConfig(
                    max_concurrent_trials=max_concurrent(scaling, resources, options.max_concurrent_trials),
                    time_budget_s=options.time_budget_s,
                    reuse_actors=alone,
                    trial_dirname_creator=lambda trial: f"trial-{trial.config['trial']['number']}-{trial.trial_id}",
                ),
                run_config=tune.RunConfig(
                    name=f"{name}-{uuid.uuid4().hex[:8]}",
                    storage_path=f"{experiment.storage.rstrip('/')}/ray",
                    failure_config=tune.FailureConfig(
                        max_failures=0 if options.fail_fast else options.max_failures, fail_fast=options.fail_fast
                    ),
                    stop=dict(options.stop) or None,
                    verbose=0,
                ),
            )
            # Tune prints its own tables whatever it is told.
            with contextlib.nullcontext() if self._verbose else contextlib.redirect_stdout(io.StringIO()):
                try:
                    results = tuner.fit()
                except tune.TuneError as error:
                    raise RunError(f"Ray Tune failed: {error}") from error
        endings = dict.fromkeys(trials, Ending("stopped"))
        for result in (results[place] for place in range(len(results))):
            metrics: dict[str, Any] = result.metrics or {}
            number = _number(result.path)
            if result.error is not None:
                endings[number] = Ending("failed", _last_line(result.error))
            elif metrics.get("fault"):
                endings[number] = Ending("diverged" if metrics["diverged"] else "failed", metrics["fault"])
            elif "fault" in metrics:
                endings[number] = Ending("ended")
        return endings

    def _start(self) -> Mapping[str, float]:
        if self._resources is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            # Without the dashboard's process Ray Train leaks the placement group of a trial that Tune stops.
            found = self._stack.enter_context(
                cluster(self._address, self._verbose, with_dashboard=self._scaling.max_workers > 1)
            )
            check_cluster(self._scaling, self._experiment.storage, self._data, "tune.workers_per_trial")
            if not self._verbose:  # Tune shows the traceback of a trial that it tries again; the last one is told
                logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
            self._resources = found
        return self._resources


def _of_trial(scaling: Any) -> dict[str, float]:
    """What Ray Tune reserves for a trial.

    One that starts workers reserves none of their resources, or they would wait for each other for ever; one byte of
    memory is what it can reserve on every cluster.
    """
    if scaling.max_workers > 1:
        return {"CPU": 0, "memory": 1}
    return {"CPU": scaling.cpus_per_worker, **({"GPU": 1} if scaling.use_gpu else {})}


def _number(path: str) -> int:
    """A trial's number, by the name of its folder: the metrics of one that never reported do not tell its config."""
    return int(path.rpartition("/trial-")[2].partition("-")[0])


def _shown(number: int, trial: Trial) -> dict[str, Any]:
    """A trial as Ray's own pages show it."""
    return {"number": number, "label": trial.label, **trial.params}


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
