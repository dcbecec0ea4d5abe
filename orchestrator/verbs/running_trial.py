"""A trial of a group while it runs: its manifest, its ledger, and its result once it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.experiment.sections import Experiment, flatten
from nmt.orchestrator.tracking.manifests.chain_manifest import FAILED, FINISHED, KILLED, RUNNING, ChainManifest
from nmt.orchestrator.tracking.manifests.group_manifest import GroupManifest
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.orchestrator.trials.chain_ledger import ChainLedger
from nmt.orchestrator.trials.trial import Status, Trial, TrialResult
from nmt.trainers.reporter import Event

RUN_STATUS: Mapping[Status, str] = {"finished": FINISHED, "stopped": KILLED, "diverged": FAILED, "failed": FAILED}
"""Status of a trial → status of its MLflow run."""


@dataclass
class RunningTrial:
    """A trial of a session.

    Attributes:
        number: Its number in the group, from 0.
        trial: What it trains.
        manifest: Its manifest; a resumed trial continues the one in the storage.
        ledger: Its stages and their cost.
        started: Whether an event of it has arrived.
        result: Its result, once it has ended.
    """

    number: int
    trial: Trial
    manifest: ChainManifest
    ledger: ChainLedger
    started: bool = False
    result: TrialResult | None = None
    _saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def open(
        cls, number: int, trial: Trial, group: GroupManifest, experiment: Experiment, manifests: ManifestStore
    ) -> RunningTrial:
        """Open a trial, with the manifest of the earlier run where the group is a resumed one."""
        manifest = _new_manifest(number, trial, group, experiment)
        before = manifests.find(manifest.file)
        if before is not None:
            manifest = replace(
                manifest,
                started=before.started,
                trained=before.trained,
                wall_seconds=before.wall_seconds,
                status=before.status,
                seen=before.seen,
            )
        return cls(number, trial, manifest, ChainLedger(manifest.trained, manifest.run_uuid))

    @property
    def is_complete(self) -> bool:
        """Whether the ledger has all stages of the trial."""
        return len(self.ledger.records) == len(self.trial.keys)

    @property
    def finish_order(self) -> tuple[bool, float, int]:
        """Sort key: trials that an earlier run finished come first, in their order, so that curves continue."""
        finished = self.manifest.status == FINISHED
        return (not finished, self.manifest.seen if finished else 0.0, self.number)

    def handle(self, event: Event) -> bool:
        """Update the manifest with an event; returns whether it must be saved."""
        if not self.started:
            self.started = True
            if self.manifest.status != FINISHED:
                self.manifest = replace(self.manifest, status=RUNNING)
        before = self.manifest
        self.manifest = before.with_event(event, time.time())
        return self.manifest is not before

    def end(self, status: Status, reason: str) -> TrialResult:
        """End the trial, and return its result."""
        self.manifest = replace(self.manifest, outcome=status, reason=reason)
        records = tuple(self.ledger.records.values())
        self.result = TrialResult(self.trial, records, self.ledger.cost, status, reason, self.manifest.run_uuid)
        return self.result

    def save(self, status: str, manifests: ManifestStore) -> None:
        """Write the manifest to the storage.

        Args:
            status: Status of the trial's MLflow run.
            manifests: Where manifests are kept.

        Raises:
            OSError: It cannot be written; then ``nmt sync`` cannot complete this trial.
        """
        now = time.monotonic()
        seconds = self.manifest.wall_seconds + now - self._saved_at
        self.manifest = replace(self.manifest, status=status, seen=time.time(), wall_seconds=seconds)
        self._saved_at = now
        manifests.write(self.manifest)


def _new_manifest(number: int, trial: Trial, group: GroupManifest, experiment: Experiment) -> ChainManifest:
    params = flatten(experiment, trial.spec.training)
    now = time.time()
    return ChainManifest(
        run_uuid=f"{group.run_uuid}.{number + 1}",
        experiment=group.experiment,
        tracking=group.tracking,
        params={key: without_credentials(value) for key, value in params.items()},
        spec=trial.spec,
        stage_keys=trial.spec.stage_keys(),
        started=now,
        seen=now,
        host=group.host,
        pid=group.pid,
        kind="weights" if trial.weights is not None else "chain",
        label=trial.label,
        shown=trial.params,
        parent=group.run_uuid,
        stages=trial.stages,
        source=trial.source,
    )
