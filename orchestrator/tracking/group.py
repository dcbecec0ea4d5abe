"""A group of trials in MLflow: one run, below which its trials are nested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.cost import Cost
from orchestrator.group_ledger import GroupLedger, Snapshot, shown_value
from orchestrator.guarantee import guarantee
from orchestrator.held_out import HeldOut
from orchestrator.manifests.chain import FINISHED, KILLED, RUNNING, ChainManifest
from orchestrator.manifests.group import GroupManifest
from orchestrator.tracking.chain import draw
from orchestrator.tracking.replay import replay
from orchestrator.tracking.store import Point, TrackingStore, milliseconds
from orchestrator.trial import Trial, TrialResult
from trainers.stage_store import StageStore


class GroupRun:
    """Writes the run of a group; every method may be called again when it failed.

    Args:
        store: Where to write.
        manifest: The group.
    """

    def __init__(self, store: TrackingStore, manifest: GroupManifest) -> None:
        self._store = store
        self._kind = manifest.kind
        self._levels = manifest.levels
        self._standard_errors = manifest.standard_errors
        tags = {"nmt.kind": manifest.kind, "nmt.method": manifest.params["method"], **manifest.tags}
        self._run = store.open_run(
            manifest.run_uuid, manifest.name, tags, manifest.params, None, milliseconds(manifest.started)
        )
        self.run_id = self._run.run_id

    @property
    def finished(self) -> bool:
        """Whether it was there already, written to its end."""
        return self._run.finished

    def write(self, snapshot: Snapshot, at: int) -> None:
        """Write how the group stands after a trial: one more point of its cumulative curves."""
        if not self.finished:
            points = [Point(name, value, snapshot.trials, at) for name, value in snapshot.metrics().items()]
            self._store.log(self.run_id, points)

    def finish(
        self, manifest: GroupManifest, results: Sequence[TrialResult], winner: TrialResult | None, held_out: HeldOut
    ) -> None:
        """Write the end of a group: what was planned, the winner so far, and a table of all trials."""
        if self.finished:
            return
        at = milliseconds(manifest.seen)
        points = [Point(f"planned/{name}", value, 0, at) for name, value in manifest.planned.items()]
        tags = {"nmt.trials_failed": str(sum(result.status in ("diverged", "failed") for result in results))}
        if winner is not None:
            points += [Point(name, value, len(results), at) for name, value in self._test(winner)]
            tags["nmt.winner"] = winner.trial.label
            held = guarantee(winner, winner, self._levels, self._standard_errors, held_out).status
            tags["nmt.guarantee"] = held if self._kind == "sweep" else "unknown"
            if self._kind == "sweep":
                draw(self._store, self.run_id, winner.records)
            if (found := self._store.find_run(winner.run_uuid)) is not None:
                tags["nmt.winner_run"] = found.run_id
        self._store.log(self.run_id, points)
        self._store.tag(self.run_id, tags)
        self._store.document(self.run_id, {"trials": [_row(result) for result in results]}, "trials.json")
        self._store.end_run(self.run_id, manifest.status, at)

    def _test(self, winner: TrialResult) -> Iterator[tuple[str, float]]:
        for task in (task for level in self._levels for task in level):
            if (value := shown_value(task, winner, "test")) is not None:
                yield f"test/{task.metric.rpartition(':')[2] or 'loss'}/{task.name}", value


def result_of(manifest: ChainManifest, stages: StageStore) -> TrialResult:
    """What came of a trial, from what is in the storage."""
    records = []
    cost = Cost(trials=1)
    for key in manifest.wanted:
        if (record := stages.read(key)) is None:
            break
        records.append(record)
        cost = cost + Cost.of_stage(record, key not in manifest.trained)
    trial = Trial(
        label=manifest.label,
        source=manifest.source,
        spec=manifest.spec,
        method=manifest.shown.get("method", manifest.spec.training.method),
        stages=manifest.stages,
    )
    whole = len(records) == len(manifest.wanted) and manifest.status == FINISHED
    return TrialResult(trial, tuple(records), cost, "finished" if whole else "failed", run_uuid=manifest.run_uuid)


def replay_group(
    group: GroupManifest, trials: Sequence[ChainManifest], store: TrackingStore, stages: StageStore
) -> tuple[GroupRun, str, int]:
    """Log what is missing of a group that runs no more: its trials, and its curves in the order in which they ended.

    Args:
        group: The group.
        trials: Manifests of those of its trials that had begun.
        store: The tracking store, opened on the group's experiment.
        stages: Where the stages are.

    Returns:
        The run, the status that it ended with, and how many runs it has in all.
    """
    status = KILLED if group.status == RUNNING else group.status
    group = replace(group, status=status)
    run = GroupRun(store, group)
    ledger = GroupLedger(group.levels, HeldOut(stages))
    runs = 1
    for trial in sorted(trials, key=lambda trial: trial.seen):
        chain, ended = replay(trial, store, stages, run.run_id)
        runs += chain.runs
        result = result_of(replace(trial, status=ended), stages)
        snapshot = ledger.add(result, max(0.0, trial.seen - group.started))
        run.write(snapshot, milliseconds(trial.seen))
    run.finish(group, ledger.results, ledger.winner, ledger.held_out)
    return run, status, runs


def _row(result: TrialResult) -> Mapping[str, Any]:
    last = result.records[-1] if result.records else None
    return {
        "trial": result.trial.label,
        **result.trial.params,
        "status": result.status,
        "reason": result.reason,
        "valid": dict(last.metrics["valid"]) if last else {},
        "test": dict(last.metrics["test"]) if last else {},
        **{f"cost/{name}": value for name, value in result.cost.__dict__.items()},
    }
