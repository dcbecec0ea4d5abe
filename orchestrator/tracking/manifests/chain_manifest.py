"""A chain's manifest: what its log says beyond the records of its stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.tracking.manifests.content import of_text, to_text
from orchestrator.trials.trial import Source, Status, short_label
from trainers.records import StageRecord
from trainers.reporter import Event, StageFinished, StageStarted
from trainers.spec.chain_spec import ChainSpec, ModelSpec, Rates
from trainers.spec.task import Task
from trainers.spec.training import Training

VERSION = 1
"""Raised when an older program could not read a manifest any more."""

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""MLflow's words for the state of a run."""


@dataclass(frozen=True)
class ChainManifest:
    """One run of a chain; with the stage records beside it, everything that belongs into its log.

    Attributes:
        run_uuid: What its MLflow run is found by.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        params: The flattened experiment.
        spec: What the chain computes.
        stage_keys: Keys of its stages, under which their records are found.
        started: When it started, in seconds since 1970.
        seen: When its driver last wrote this, in seconds since 1970.
        host: Name of the driver's machine.
        pid: The driver's process there.
        trained: Key of each stage whose training this run began → when, in seconds since 1970. Every other stage it
            reuses.
        wall_seconds: Time that the run took, added up over interruptions.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; a driver that was killed leaves ``RUNNING``.
        logged: Whether the tracking store has it all.
        kind: ``chain``, or ``weights`` for a trial of a grid, whose one stage has no run of its own.
        label: What was varied, by which its MLflow run is named, in short; the run is named by its key when empty.
        shown: What its comparable params and its method tag say, where it is not what the spec does.
        parent: ``run_uuid`` of the group that it belongs to, if any.
        stages: How many of its stages the run wants; all of them when absent.
        source: Where a trial belongs in a comparison.
        outcome: How a trial ended, in a group's words; ``None`` before that, and for a chain that is in no group.
        reason: Why it did not finish.
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
        """Keys of the stages that the run wants."""
        return self.stage_keys[: self.stages]

    @property
    def key(self) -> str:
        """Key of the last stage, which stands for the chain."""
        return self.stage_keys[-1]

    @property
    def name(self) -> str:
        """Name of its MLflow run."""
        return short_label(self.label) or f"chain {self.key[:8]}"

    def began(self, record: StageRecord) -> float | None:
        """When this run began to train a stage, in seconds since 1970; ``None`` when it found the stage.

        The record tells too: a driver that was killed may not have heard that the stage had begun.
        """
        if (at := self.trained.get(record.key)) is not None:
            return at
        return self.seen - record.wall_seconds if record.trained_by == self.run_uuid else None

    def training(self, event: Event, now: float) -> ChainManifest:
        """This manifest with the stage that this run trains, if the event is the first that tells of it.

        Args:
            event: An event, as :class:`~orchestrator.trials.chain_ledger.ChainLedger` tells it.
            now: Seconds since 1970.
        """
        match event:
            case StageStarted():
                key, began = event.key, now
            case StageFinished(reused=False):  # that of its start got lost
                key, began = event.record.key, now - event.record.wall_seconds
            case _:
                return self
        return self if key in self.trained else dataclasses.replace(self, trained={**self.trained, key: began})

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.key}.{self.run_uuid}.json"

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads."""
        return to_text(dataclasses.asdict(self), VERSION)

    @classmethod
    def from_json(cls, text: str) -> ChainManifest:
        """Read a manifest.

        Raises:
            ValueError: The text is damaged, or was written by a program that this one does not understand.
        """
        with of_text(text, VERSION, "chain") as raw:
            return cls(**{**raw, "spec": _spec(raw["spec"]), "stage_keys": tuple(raw["stage_keys"])})


def _spec(raw: Mapping[str, Any]) -> ChainSpec:
    # What has been added since takes its default, and what is gone is left out: the log shows the params as they were
    # written down, and the stages are found under the keys as they were.
    training = _known(Training, raw["training"])
    if training.get("weights") is not None:
        training["weights"] = tuple(training["weights"])
    rebuilt: dict[str, Any] = {
        "levels": tuple(tuple(Task(**_known(Task, task)) for task in level) for level in raw["levels"]),
        "model": ModelSpec(**_known(ModelSpec, raw["model"])),
        "training": Training(**training),
    }
    if raw.get("rates") is not None:
        rebuilt["rates"] = tuple(Rates(**_known(Rates, rates)) for rates in raw["rates"])
    return ChainSpec(**{**_known(ChainSpec, raw), **rebuilt})


def _known(kind: type[Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    names = {known.name for known in dataclasses.fields(kind)}
    return {name: value for name, value in raw.items() if name in names}
