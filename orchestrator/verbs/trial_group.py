"""A group of trials while it runs: shown on the terminal, kept in the storage, recorded in MLflow, added up."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.cluster.tuning.runner import Ending, TrialRunner
from orchestrator.credentials import without_credentials
from orchestrator.experiment.prepared import PreparedExperiment
from orchestrator.experiment.sections import flattened
from orchestrator.terminal.output import Output
from orchestrator.tracking.group_live import GroupTracking
from orchestrator.tracking.manifests.chain_manifest import FAILED, FINISHED, KILLED, RUNNING, ChainManifest
from orchestrator.tracking.manifests.group_manifest import GroupManifest
from orchestrator.tracking.manifests.keeper import ManifestKeeper
from orchestrator.tracking.manifests.store import GroupStore, ManifestStore
from orchestrator.trials.chain_ledger import ChainLedger
from orchestrator.trials.cost import Cost
from orchestrator.trials.extrapolation import GRID_TRIALS, extrapolate
from orchestrator.trials.forecast import Forecast
from orchestrator.trials.group_ledger import GroupLedger, Snapshot
from orchestrator.trials.group_outcome import GroupOutcome, Kind
from orchestrator.trials.held_out import HeldOut
from orchestrator.trials.trial import Status, Trial, TrialResult
from trainers.reporter import Event, StageFinished
from trainers.store.stage_store import StageStore

_IN_A_LINE = ("kind", "winner", "cost", "extrapolated", "mlflow_run_id", "mlflow_link", "mlflow_view")
"""What a log's last line about a group has of the JSON document; trials have lines of their own."""


class GroupSession:
    """A group from its first trial to its last; a context manager.

    It goes on with the MLflow run of the same command that was cut off.

    Args:
        kind: What it is.
        name: Name of its MLflow run.
        prepared: The experiment.
        params: What its comparable params say, and the options of the command.
        planned: What it is expected to cost.
        runner: Where trials run.
        output: Where progress is shown.
        tags: Further tags.
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
        self._runner = runner
        self._output = output
        self._planned = planned
        self._kind = kind
        self._stages = StageStore(experiment.storage)
        self._manifests = ManifestStore(experiment.storage)
        self._groups = groups = GroupStore(experiment.storage)
        now = time.time()
        manifest, self._lease = groups.begin(
            GroupManifest(
                run_uuid=uuid.uuid4().hex,
                kind=kind,
                name=name,
                experiment=experiment.name,
                tracking=without_credentials(experiment.tracking),
                params=_public({**flattened(experiment), **params}),
                levels=prepared.spec.levels,
                standard_errors=experiment.training.accept_standard_errors,
                tags=dict(tags or {}),
                planned=_planned(planned),
                chains=(),
                started=now,
                seen=now,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
        )
        self._keeper = ManifestKeeper(groups, manifest)
        self._group = manifest
        if dict(manifest.planned) != _planned(planned):  # it goes on, and some of that is in the storage by now
            exact = experiment.training.patience is None
            self._planned = planned = replace(planned, **manifest.planned, exact=exact)
        self._opened = time.monotonic()
        self._tracking = GroupTracking(experiment.tracking, manifest, experiment.storage)
        self._display = output.trials(name, planned)
        self._ledger = GroupLedger(prepared.spec.levels, HeldOut(self._stages))
        self._trials: list[_Attempt] = []

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
        """Run trials, and return what came of them, in their order.

        Trials whose stages are all in the storage need no Ray.

        Raises:
            RequestError: The cluster cannot hold one trial.
            RunError: Ray cannot be started.
        """
        first = len(self._trials)
        self._trials += [self._attempt(first + place, trial) for place, trial in enumerate(trials)]
        mine = self._trials[first:]
        self._keeper.change(chains=tuple(attempt.manifest.file for attempt in self._trials))
        self._display.add({attempt.number: attempt.trial for attempt in mine})
        waiting = [attempt for attempt in sorted(mine, key=_when_finished) if not self._found(attempt)]
        waiting.sort(key=lambda attempt: attempt.number)
        endings = self._runner.run(
            {attempt.number: attempt.trial for attempt in waiting},
            {attempt.number: attempt.manifest.run_uuid for attempt in waiting},
            self._kind,
            self._deliver,
        )
        for attempt in waiting:
            if attempt.result is None:
                self._settle(attempt, endings.get(attempt.number, Ending("stopped")))
        return tuple(attempt.result for attempt in mine if attempt.result is not None)

    def attach(self, files: Mapping[str, bytes]) -> str:
        """Keep files of the group, which its run in MLflow gets too; returns the folder."""
        return self._groups.attach(self._group, files)

    def close(self, winner: TrialResult | None = None) -> GroupOutcome:
        """End the group.

        Args:
            winner: The winner, where it is not the ledger's.
        """
        winner = winner or self._ledger.winner
        results = tuple(attempt.result for attempt in self._trials if attempt.result is not None)
        statuses = {result.status for result in results}
        status = FAILED if "failed" in statuses else KILLED if "stopped" in statuses else FINISHED
        manifest = self._close(status, winner)
        tracking = self._tracking
        outcome = GroupOutcome(
            self._kind,
            results,
            winner,
            replace(sum((result.cost for result in results), Cost()), wall_seconds=manifest.wall_seconds),
            self._planned,
            extrapolate(int(manifest.tags.get(GRID_TRIALS, 0)), results),
            tracking.run_id,
            tracking.link,
            tracking.view,
            None if tracking.complete else tracking.failure,
        )
        told = outcome.to_dict()
        best = f"its winner is {told['winner']}" if winner is not None else "without a winner"
        message = f"{self._group.name} ended, {best}"
        self._output.note(message, "group_finished", **{key: told[key] for key in _IN_A_LINE})
        return outcome

    def _close(self, status: str, winner: TrialResult | None) -> GroupManifest:
        for attempt in self._trials:
            if attempt.result is None and attempt.begun:
                self._keep(attempt, status)
        manifest = self._keeper.end(status)
        if self._tracking.is_away:
            away = f"the tracking store is away ({self._tracking.failure}); trying for a few seconds"
            self._output.say(away, "tracking_away", "warning")
        results = tuple(attempt.result for attempt in self._trials if attempt.result is not None)
        self._tracking.close(manifest, results, winner)
        if not self._tracking.complete:
            place = without_credentials(self._experiment.storage)
            self._output.say(
                f"tracking is not complete: {self._tracking.failure}; nothing is lost: the records are in {place}; log "
                "what is missing later with nmt sync",
                "tracking_incomplete",
                "warning",
            )
        if self._lease is not None:
            self._lease.release()
        return manifest

    def _attempt(self, number: int, trial: Trial) -> _Attempt:
        """A trial with its manifest: that of the run before, where this one goes on with it."""
        now = time.time()
        manifest = ChainManifest(
            run_uuid=f"{self._group.run_uuid}.{number + 1}",
            experiment=self._group.experiment,
            tracking=self._group.tracking,
            params=_public(flattened(self._experiment.model_copy(update={"training": trial.spec.training}))),
            spec=trial.spec,
            stage_keys=trial.spec.stage_keys(),
            started=now,
            seen=now,
            host=self._group.host,
            pid=self._group.pid,
            kind="weights" if trial.weights is not None else "chain",
            label=trial.label,
            shown=trial.params,
            parent=self._group.run_uuid,
            stages=trial.stages,
            source=trial.source,
        )
        before = self._manifests.find(manifest.file)
        if before is not None:
            manifest = replace(
                manifest,
                started=before.started,
                trained=before.trained,
                wall_seconds=before.wall_seconds,
                status=before.status,
                seen=before.seen,
            )
        return _Attempt(number, trial, manifest, ChainLedger(manifest.trained, manifest.run_uuid))

    def _found(self, attempt: _Attempt) -> bool:
        """Whether a trial's stages are all there; it has ended then."""
        records = []
        for key in attempt.trial.keys:
            if (record := self._stages.read(key)) is None:
                return False
            records.append(record)
        for record in records:
            self._deliver(attempt.number, StageFinished(record, reused=True))
        return True

    def _deliver(self, number: int, event: Event) -> None:
        """Take a trial's event; called from the mailbox's thread while Ray Tune runs."""
        attempt = self._trials[number]
        if attempt.result is not None or (told := attempt.ledger.take(event)) is None:
            return
        if not attempt.begun:
            attempt.begun = True
            if attempt.manifest.status != FINISHED:
                attempt.manifest = replace(attempt.manifest, status=RUNNING)
        manifest = attempt.manifest.with_event(told, time.time())
        if manifest is not attempt.manifest:
            attempt.manifest = manifest
            self._keep(attempt, RUNNING)
        self._display.show(number, told)
        self._tracking.write(attempt.manifest, told)
        if len(attempt.ledger.records) == len(attempt.trial.keys):
            self._end(attempt, "finished", "")

    def _settle(self, attempt: _Attempt, ending: Ending) -> None:
        """A trial that is over: finished if its stages are there, whatever was heard of it."""
        if self._found(attempt):
            return
        status: Status = "failed"
        if ending.status in ("diverged", "stopped"):
            status = "diverged" if ending.status == "diverged" else "stopped"
        reason = ending.reason or ("its stages are not in the storage" if status == "failed" else "")
        self._end(attempt, status, reason)

    def _end(self, attempt: _Attempt, status: Status, reason: str) -> None:
        result = TrialResult(
            attempt.trial,
            tuple(attempt.ledger.records.values()),
            attempt.ledger.cost,
            status,
            reason,
            attempt.manifest.run_uuid,
        )
        attempt.result = result
        if status == "stopped" and not attempt.begun:
            attempt.result = replace(result, cost=Cost())  # it never was a trial
            self._display.end(attempt.number, attempt.result)
            return
        # What may go on has no point in the curves: there it would stand for ever, beside what it comes to.
        snapshot: Snapshot | None = None
        if result.settled:
            snapshot = self._ledger.add(result, time.time() - self._group.started)
        was = attempt.manifest.status
        attempt.manifest = replace(attempt.manifest, outcome=status, reason=reason)
        ended = FINISHED if status == "finished" else KILLED if status == "stopped" else FAILED
        if was != FINISHED:
            self._keep(attempt, ended)
        self._display.end(attempt.number, result)
        self._tracking.end_trial(attempt.manifest, snapshot)

    def _keep(self, attempt: _Attempt, status: str) -> None:
        """Write a trial's manifest; one that cannot be written only costs what ``nmt sync`` could do with it."""
        before = attempt.manifest.wall_seconds
        now = time.monotonic()
        attempt.manifest = replace(
            attempt.manifest, status=status, seen=time.time(), wall_seconds=before + now - attempt.since
        )
        attempt.since = now
        try:
            self._manifests.write(attempt.manifest)
        except OSError as error:
            lost = f"{attempt.trial.label} is not noted in the storage: {error}"
            self._output.say(lost, "trial_not_noted", "warning", trial=attempt.trial.label)


@dataclass
class _Attempt:
    """A trial of a session."""

    number: int
    trial: Trial
    manifest: ChainManifest
    ledger: ChainLedger
    begun: bool = False
    result: TrialResult | None = None
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = time.monotonic()


def _when_finished(attempt: _Attempt) -> tuple[bool, float, int]:
    """Those that were finished by the run before come first, in their order: the curves go on where they ended."""
    finished = attempt.manifest.status == FINISHED
    return (not finished, attempt.manifest.seen if finished else 0.0, attempt.number)


def _planned(planned: Forecast) -> dict[str, int]:
    return {"trials": planned.trials, "stages": planned.stages, "samples": planned.samples}


def _public(params: Mapping[str, str]) -> dict[str, str]:
    return {key: without_credentials(value) for key, value in params.items()}
