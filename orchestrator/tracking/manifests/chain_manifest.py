"""The manifest of a chain: what its log needs beyond the records of its stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nmt.orchestrator.tracking.manifests.content import dump_manifest, parse_manifest
from nmt.orchestrator.trials.trial import Source, Status, short_label
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event, StageFinished, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec, Rates
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.previous import Previous
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Task

VERSION = 1
"""Format of the file; manifests of any other version are refused."""

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""MLflow's names for the status of a run."""


@dataclass(frozen=True)
class ChainManifest:
    """One run of a chain; with the records of its stages, everything that its log consists of.

    Attributes:
        run_uuid: UUID by which its MLflow run is found.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        params: The flattened experiment.
        spec: What the chain computes.
        stage_keys: Keys of its stages, under which their records are stored.
        started: Start, in seconds since 1970.
        seen: Time of the driver's last write of this manifest, in seconds since 1970.
        host: Name of the driver's machine.
        pid: Process id of the driver there.
        trained: Key of each stage that this run trains → start of the training, in seconds since 1970; it reuses every
            other stage.
        wall_seconds: Duration, summed over interruptions.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; a killed driver leaves ``RUNNING``.
        logged: Whether the tracking store has every record.
        kind: ``chain``, or ``weights`` for a trial of a grid, whose single stage has no run of its own.
        label: What varies in a trial; names its MLflow run, which is named by its key when empty.
        shown: Overrides of its comparable params and of its method tag.
        parent: ``run_uuid`` of its group, if any.
        stages: Number of stages to run; all of them when absent.
        source: The trial's place in a comparison.
        outcome: How a trial ended; ``None`` before that, and for a chain in no group.
        reason: Why the trial did not finish.
    """

    run_uuid: str
    experiment: str
    tracking: str
    params: Mapping[str, str]
    spec: ChainSpec
    stage_keys: tuple[str, ...]
    started: float
    seen: float
    host: str
    pid: int
    trained: Mapping[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    status: str = RUNNING
    logged: bool = False
    kind: Literal["chain", "weights"] = "chain"
    label: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    stages: int | None = None
    source: Source = "sweep"
    outcome: Status | None = None
    reason: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Keys of the stages to run."""
        return self.stage_keys[: self.stages]

    @property
    def key(self) -> str:
        """Key of the last stage, which identifies the chain."""
        return self.stage_keys[-1]

    @property
    def name(self) -> str:
        """Name of its MLflow run."""
        return short_label(self.label) or f"chain {self.key[:8]}"

    def training_start(self, record: StageRecord) -> float | None:
        """Return when this run began to train a stage, in seconds since 1970; ``None`` for a reused stage.

        A killed driver may not have received the start of the stage; the record then names the run that trained it.
        """
        if (at := self.trained.get(record.key)) is not None:
            return at
        return self.seen - record.wall_seconds if record.trained_by == self.run_uuid else None

    def with_event(self, event: Event, now: float) -> ChainManifest:
        """Return this manifest with the start of a stage's training, if the event is the first of that stage.

        Args:
            event: An event from :class:`~nmt.orchestrator.trials.chain_ledger.ChainLedger`.
            now: Present time, in seconds since 1970.
        """
        match event:
            case StageStarted():
                key, start = event.key, now
            case StageFinished(reused=False):  # its StageStarted event was lost
                key, start = event.record.key, now - event.record.wall_seconds
            case _:
                return self
        return self if key in self.trained else dataclasses.replace(self, trained={**self.trained, key: start})

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.key}.{self.run_uuid}.json"

    def to_json(self) -> str:
        """Return the text that :meth:`from_json` reads."""
        return dump_manifest(dataclasses.asdict(self), VERSION)

    @classmethod
    def from_json(cls, text: str) -> ChainManifest:
        """Read a manifest.

        Raises:
            ValueError: The text is damaged or of another version.
        """
        with parse_manifest(text, VERSION, "chain") as raw:
            return cls(**{**raw, "spec": _spec(raw["spec"]), "stage_keys": tuple(raw["stage_keys"])})


def _spec(raw: Mapping[str, Any]) -> ChainSpec:
    training, rates, live, previous = raw["training"], raw["rates"], raw["live"], raw["previous"]
    weights = training["weights"]
    rebuilt = {
        "levels": tuple(tuple(Task(**task) for task in level) for level in raw["levels"]),
        "model": ModelSpec(**raw["model"]),
        "training": Settings(**{**training, "weights": None if weights is None else tuple(weights)}),
        "execution": Execution(**raw["execution"]),
        "live": None if live is None else Live(live["digest"], tuple(live["tasks"]), live["start"]),
        "previous": None if previous is None else Previous(**previous),
        "rates": None if rates is None else tuple(Rates(**pair) for pair in rates),
    }
    return ChainSpec(**{**raw, **rebuilt})
