"""A group of trials in MLflow: one run, with its trials nested below."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nmt.orchestrator.figures.style import PALETTE
from nmt.orchestrator.tracking.chain_log import log_figures
from nmt.orchestrator.tracking.manifests.chain_manifest import FINISHED, KILLED, RUNNING, ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.replay import replay
from nmt.orchestrator.tracking.saved_view import install
from nmt.orchestrator.tracking.store import Point, TrackingStore, milliseconds
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.extrapolation import GRID_TRIALS, extrapolate
from nmt.orchestrator.trials.group_ledger import GroupLedger, Snapshot
from nmt.orchestrator.trials.guarantee import chain_guarantee
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import Status, Trial, TrialResult
from nmt.orchestrator.trials.trial_summary import trial_summary
from nmt.trainers.store.stage_store import StageStore

COLOURS = {"sweep": PALETTE[0], "grid": PALETTE[1], "comparison": PALETTE[2]}
"""Kind → colour of its runs in MLflow's charts, as in the figures."""

TABLE_SUFFIX = "_table.json"
"""Suffix of attachments that hold columns of a table, which are logged as an MLflow table."""


class GroupRun:
    """Writes the run of a group; every method may be called again after a failure.

    Args:
        store: The tracking store.
        manifest: The group.
    """

    def __init__(self, store: TrackingStore, manifest: GroupManifest) -> None:
        self._store = store
        self._kind = manifest.kind
        self._levels = manifest.levels
        tags = {
            "mlflow.runColor": COLOURS[manifest.kind],
            "nmt.kind": manifest.kind,
            "nmt.method": manifest.params["method"],
            **manifest.tags,
        }
        self._run = store.open_run(
            manifest.run_uuid, manifest.name, tags, manifest.params, None, milliseconds(manifest.started)
        )
        self.run_id = self._run.run_id
        self._written: set[int] = set()

    @property
    def finished(self) -> bool:
        """Whether the store already had the whole group when the run was opened."""
        return self._run.finished

    def write(self, snapshot: Snapshot, at: int) -> None:
        """Write the group's state after a trial: one more point of its cumulative curves."""
        if self.finished or snapshot.trials in self._written:
            return
        points = [Point(name, value, snapshot.trials, at) for name, value in snapshot.metrics().items()]
        self._store.log(self.run_id, points)
        self._written.add(snapshot.trials)

    def finish(
        self,
        manifest: GroupManifest,
        results: Sequence[TrialResult],
        winner: TrialResult | None,
        attachments: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write the end of a group: planned cost, winner, all trials, attachments and the saved view."""
        if self.finished:
            return
        at = milliseconds(manifest.seen)
        # Tags, since MLflow would add a chart to the saved view for each metric.
        tags = {f"nmt.planned_{name}": str(value) for name, value in manifest.planned.items()}
        limited = manifest.tags.get("nmt.extrapolated") == "true"  # rather than interrupted
        if limited and (whole := extrapolate(int(manifest.tags.get(GRID_TRIALS, 0)), results)) is not None:
            tags |= {"nmt.extrapolated_trials": str(whole.trials), "nmt.extrapolated_samples": str(whole.samples)}
        tags["nmt.trials_failed"] = str(sum(result.status in ("diverged", "failed") for result in results))
        if winner is not None:
            tags["nmt.winner"] = winner.trial.label
            if self._kind == "sweep":
                tags["nmt.guarantee"] = chain_guarantee(winner, len(self._levels))
                log_figures(self._store, self.run_id, winner.records)
            if (found := self._store.find_run(winner.run_uuid)) is not None:
                tags["nmt.winner_run"] = found.run_id
        self._store.tag(self.run_id, tags)
        if not manifest.chains:  # a comparison without methods of its own
            nothing = Cost(wall_seconds=manifest.wall_seconds).metrics()
            self._store.log(self.run_id, [Point(name, value, 0, at) for name, value in nothing.items()])
        self._store.document(self.run_id, {"trials": [trial_summary(result) for result in results]}, "trials.json")
        for name, content in (attachments or {}).items():
            if name.endswith(TABLE_SUFFIX):
                self._store.table(self.run_id, json.loads(content), name)
            else:
                self._store.file(self.run_id, content, name)
        install(self._store, [task for level in self._levels for task in level])
        self._store.end_run(self.run_id, manifest.status, at)


def read_result(manifest: ChainManifest, stages: StageStore) -> TrialResult:
    """Return the result of a trial, from its manifest and the records in the storage."""
    records = []
    cost = Cost(trials=1)
    for key in manifest.wanted:
        if (record := stages.read(key)) is None:
            break
        records.append(record)
        cost = cost + Cost.of_stage(record, manifest.training_start(record) is None)
    trial = Trial(
        label=manifest.label,
        source=manifest.source,
        spec=manifest.spec,
        method=manifest.shown.get("method", manifest.spec.training.method),
        weights=_parse_weights(manifest.shown.get("weights", "none")),
        stages=manifest.stages,
    )
    whole = len(records) == len(manifest.wanted) and manifest.status == FINISHED
    status: Status = "finished" if whole else "failed"
    if not whole and manifest.outcome != "finished":
        status = manifest.outcome or ("stopped" if manifest.status == KILLED else "failed")
    return TrialResult(trial, tuple(records), cost, status, manifest.reason, manifest.run_uuid)


def replay_group(
    group: GroupManifest,
    trials: Sequence[ChainManifest],
    store: TrackingStore,
    stages: StageStore,
    attachments: Mapping[str, bytes],
) -> tuple[GroupRun, str, int]:
    """Log the missing records of a group that no longer runs: its trials, and its curves in the order they ended.

    Args:
        group: The group.
        trials: Manifests of its trials that have begun.
        store: The tracking store, opened on the group's experiment.
        stages: Storage of the stages.
        attachments: Files of the group: name → content.

    Returns:
        The run, the status that the group ended with, and its number of runs.
    """
    status = KILLED if group.status == RUNNING else group.status
    group = replace(group, status=status)
    run = GroupRun(store, group)
    ledger = GroupLedger(group.levels, HeldOut(stages))
    runs = 1
    results: dict[str, TrialResult] = {}
    for trial in sorted(trials, key=lambda trial: trial.seen):
        chain, ended = replay(trial, store, stages, run.run_id)
        runs += chain.runs
        result = results[trial.file] = read_result(replace(trial, status=ended), stages)
        if result.settled:
            run.write(ledger.add(result, max(0.0, trial.seen - group.started)), milliseconds(trial.seen))
    in_order = [results[trial.file] for trial in trials]
    run.finish(group, in_order, ledger.winner, attachments)
    return run, status, runs


def _parse_weights(text: str) -> tuple[float, ...] | None:
    return None if text == "none" else tuple(float(weight) for weight in text.split(":"))
