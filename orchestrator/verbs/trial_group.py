"""A group of trials while it runs: shown on the terminal, kept in the storage, recorded in MLflow, added up."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from nmt.orchestrator.cluster.tuning.runner import Ending, TrialRunner
from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.experiment.sections import flatten
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.tracking.group_live import GroupTracking
from nmt.orchestrator.tracking.manifests.chain_manifest import FAILED, FINISHED, KILLED, RUNNING
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.manifests.keeper import ManifestKeeper
from nmt.orchestrator.tracking.manifests.store import GroupStore, ManifestStore
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.extrapolation import GRID_TRIALS, extrapolate
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.group_ledger import GroupLedger, Snapshot
from nmt.orchestrator.trials.group_outcome import GroupOutcome, Kind
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import Status, Trial, TrialResult
from nmt.orchestrator.verbs.running_trial import RUN_STATUS, RunningTrial
from nmt.trainers.reporter import Event, StageFinished
from nmt.trainers.store.stage_store import StageStore

_LOGGED = ("kind", "winner", "cost", "extrapolated", "mlflow_run_id", "mlflow_link", "mlflow_view")
"""Keys of the JSON document that the log's last line about a group has; each trial has a line of its own."""


class GroupSession:
    """A group from its first trial to its last; a context manager.

    Continues the MLflow run of the same command where that was interrupted.

    Args:
        kind: Kind of the group.
        name: Name of its MLflow run.
        prepared: The experiment.
        params: Comparable params of its run, and the options of the command.
        planned: Predicted cost.
        runner: Runs the trials.
        output: Shows progress.
        tags: Further tags of its run.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        prepared: PreparedExperiment,
        params: Mapping[str, str],
        planned: Forecast,
        runner: TrialRunner,
        output: Output,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        experiment = prepared.experiment
        self._experiment = experiment
        self._fresh = prepared.fresh
        self._runner = runner
        self._output = output
        self._kind = kind
        self._stages = StageStore(experiment.storage)
        self._manifests = ManifestStore(experiment.storage)
        self._groups = GroupStore(experiment.storage)
        manifest = _new_manifest(kind, name, prepared, params, planned, tags or {})
        self._group, self._lease = self._groups.begin(manifest)
        self._keeper = ManifestKeeper(self._groups, self._group)
        self._planned = _first_forecast(planned, self._group, exact=experiment.training.patience is None)
        self._tracking = GroupTracking(experiment.tracking, self._group, experiment.storage)
        self._display = output.trials(name, self._planned)
        self._ledger = GroupLedger(prepared.spec.levels, HeldOut(self._stages))
        self._trials: list[RunningTrial] = []

    def __enter__(self) -> GroupSession:
        planned = asdict(self._planned)
        self._output.note(f"{self._group.name} starts", "group_started", kind=self._kind, planned=planned)
        self._display.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self._display.__exit__(kind, error, traceback)
        if kind is not None:
            interrupted = issubclass(kind, KeyboardInterrupt | SystemExit)
            self._close(KILLED if interrupted else FAILED, None)

    @property
    def winner(self) -> TrialResult | None:
        """The lexicographic winner so far."""
        return self._ledger.winner

    def run(self, trials: Sequence[Trial]) -> tuple[TrialResult, ...]:
        """Run trials, and return their results in order.

        Trials whose stages are all in the storage need no Ray.

        Raises:
            RequestError: The cluster cannot hold one trial.
            RunError: Ray cannot be started.
        """
        if self._fresh is not None:
            self._fresh.forget(key for trial in trials for key in trial.keys)
        first = len(self._trials)
        mine = [
            RunningTrial.open(number, trial, self._group, self._experiment, self._manifests)
            for number, trial in enumerate(trials, first)
        ]
        self._trials += mine
        self._keeper.change(chains=tuple(trial.manifest.file for trial in self._trials))
        self._display.add({trial.number: trial.trial for trial in mine})
        for trial in sorted(mine, key=lambda trial: trial.finish_order):
            self._finish_if_stored(trial)
        waiting = [trial for trial in mine if trial.result is None]
        endings = self._runner.run(
            {trial.number: trial.trial for trial in waiting},
            {trial.number: trial.manifest.run_uuid for trial in waiting},
            self._kind,
            self._handle,
        )
        for trial in waiting:
            if trial.result is None:
                self._settle(trial, endings.get(trial.number, Ending("stopped")))
        return _results(mine)

    def attach(self, files: Mapping[str, bytes]) -> str:
        """Keep files with the group, for its MLflow run too; returns their folder."""
        return self._groups.attach(self._group, files)

    def close(self) -> GroupOutcome:
        """End the group."""
        winner, results = self._ledger.winner, _results(self._trials)
        statuses = {result.status for result in results}
        status = FAILED if "failed" in statuses else KILLED if "stopped" in statuses else FINISHED
        manifest = self._close(status, winner)
        tracking = self._tracking
        outcome = GroupOutcome(
            kind=self._kind,
            results=results,
            winner=winner,
            cost=replace(sum((result.cost for result in results), Cost()), wall_seconds=manifest.wall_seconds),
            planned=self._planned,
            whole=extrapolate(int(manifest.tags.get(GRID_TRIALS, 0)), results),
            run_id=tracking.run_id,
            link=tracking.link,
            view=tracking.view,
            tracking_failure=None if tracking.complete else tracking.failure,
        )
        document = outcome.to_dict()
        best = f"its winner is {document['winner']}" if winner is not None else "without a winner"
        message = f"{self._group.name} ended, {best}"
        self._output.note(message, "group_finished", **{key: document[key] for key in _LOGGED})
        return outcome

    def _close(self, status: str, winner: TrialResult | None) -> GroupManifest:
        for trial in self._trials:
            if trial.result is None and trial.started:
                self._save(trial, status)
        manifest = self._keeper.end(status)
        self._close_tracking(manifest, winner)
        if self._lease is not None:
            self._lease.release()
        return manifest

    def _close_tracking(self, manifest: GroupManifest, winner: TrialResult | None) -> None:
        if self._tracking.is_away:
            away = f"the tracking store is away ({self._tracking.failure}); trying for a few seconds"
            self._output.say(away, "tracking_away", "warning")
        self._tracking.close(manifest, _results(self._trials), winner)
        if not self._tracking.complete:
            place = without_credentials(self._experiment.storage)
            self._output.say(
                f"tracking is not complete: {self._tracking.failure}; nothing is lost: the records are in {place}; log "
                "what is missing later with nmt sync",
                "tracking_incomplete",
                "warning",
            )

    def _handle(self, number: int, event: Event) -> None:
        """Handle a trial's event; called from the mailbox's thread while Ray Tune runs."""
        trial = self._trials[number]
        if trial.result is not None or (counted := trial.ledger.take(event)) is None:
            return
        if trial.handle(counted):
            self._save(trial, RUNNING)
        self._display.show(number, counted)
        self._tracking.write(trial.manifest, counted)
        if trial.is_complete:
            self._end(trial, "finished", "")

    def _finish_if_stored(self, trial: RunningTrial) -> bool:
        """End a trial whose stages are all in the storage; returns whether they are."""
        records = []
        for key in trial.trial.keys:
            if (record := self._stages.read(key)) is None:
                return False
            records.append(record)
        for record in records:
            self._handle(trial.number, StageFinished(record, reused=True))
        return True

    def _settle(self, trial: RunningTrial, ending: Ending) -> None:
        """End a trial that Ray Tune is done with; stages in the storage count even where their events got lost."""
        if self._finish_if_stored(trial):
            return
        status: Status = "failed" if ending.status == "ended" else ending.status
        reason = ending.reason or ("its stages are not in the storage" if status == "failed" else "")
        self._end(trial, status, reason)

    def _end(self, trial: RunningTrial, status: Status, reason: str) -> None:
        finished_before = trial.manifest.status == FINISHED
        result = trial.end(status, reason)
        if status == "stopped" and not trial.started:
            trial.result = replace(result, cost=Cost())  # a trial that never ran is not counted
            self._display.end(trial.number, trial.result)
            return
        # A trial that may resume has no point in the curves: it would stay there beside its final result.
        snapshot: Snapshot | None = None
        if result.settled:
            snapshot = self._ledger.add(result, time.time() - self._group.started)
        if not finished_before:
            self._save(trial, RUN_STATUS[status])
        self._display.end(trial.number, result)
        self._tracking.end_trial(trial.manifest, snapshot)

    def _save(self, trial: RunningTrial, status: str) -> None:
        try:
            trial.save(status, self._manifests)
        except OSError as error:  # training goes on; only ``nmt sync`` lacks this trial
            lost = f"{trial.trial.label} is not noted in the storage: {error}"
            self._output.say(lost, "trial_not_noted", "warning", trial=trial.trial.label)


def _results(trials: Sequence[RunningTrial]) -> tuple[TrialResult, ...]:
    return tuple(trial.result for trial in trials if trial.result is not None)


def _new_manifest(
    kind: Kind,
    name: str,
    prepared: PreparedExperiment,
    params: Mapping[str, str],
    planned: Forecast,
    tags: Mapping[str, str],
) -> GroupManifest:
    experiment = prepared.experiment
    now = time.time()
    return GroupManifest(
        run_uuid=uuid.uuid4().hex,
        kind=kind,
        name=name,
        experiment=experiment.name,
        tracking=without_credentials(experiment.tracking),
        params={key: without_credentials(value) for key, value in {**flatten(experiment), **params}.items()},
        levels=prepared.spec.levels,
        tags=dict(tags),
        planned=_counts(planned),
        chains=(),
        started=now,
        seen=now,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _first_forecast(planned: Forecast, group: GroupManifest, *, exact: bool) -> Forecast:
    """Return the forecast of the group's first start: a resumed one finds part of it in the storage."""
    if dict(group.planned) == _counts(planned):
        return planned
    return replace(planned, **group.planned, exact=exact)


def _counts(planned: Forecast) -> dict[str, int]:
    return {"trials": planned.trials, "stages": planned.stages, "samples": planned.samples}
