"""A group's manifest: what the log of a sweep, a grid or a comparison says beyond those of its trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.tracking.manifests.chain_manifest import RUNNING
from orchestrator.tracking.manifests.content import of_text, to_text
from orchestrator.trials.group_outcome import Kind
from trainers.spec.task import Task

VERSION = 1
"""Raised when an older program could not read a manifest any more."""


@dataclass(frozen=True)
class GroupManifest:
    """One run of a sweep, a grid or a comparison; with the manifests of its trials, all that belongs into its log.

    Attributes:
        run_uuid: What its MLflow run is found by.
        kind: What it is.
        name: Name of its MLflow run.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        params: Its params: the flattened experiment, and the options of the command.
        levels: Tasks by priority.
        standard_errors: s of the acceptance rule, by which models that were not held by it are judged.
        tags: Further tags.
        planned: What was to be spent, as ``trials``, ``stages`` and ``samples``.
        chains: Names of the manifests of its trials, in order; one that has not begun has none yet.
        started: When it started, in seconds since 1970.
        seen: When its driver last wrote this, in seconds since 1970.
        host: Name of the driver's machine.
        pid: The driver's process there.
        wall_seconds: Time that it took, added up over interruptions.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; a driver that was killed leaves ``RUNNING``.
        logged: Whether the tracking store has it all.
    """

    run_uuid: str
    kind: Kind
    name: str
    experiment: str
    tracking: str
    params: Mapping[str, str]
    levels: tuple[tuple[Task, ...], ...]
    standard_errors: float
    tags: Mapping[str, str]
    planned: Mapping[str, int]
    chains: tuple[str, ...]
    started: float
    seen: float
    host: str
    pid: int
    wall_seconds: float = 0.0
    status: str = RUNNING
    logged: bool = False

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.run_uuid}.json"

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads."""
        return to_text(dataclasses.asdict(self), VERSION)

    @classmethod
    def from_json(cls, text: str) -> GroupManifest:
        """Read a manifest.

        Raises:
            ValueError: The text is damaged, or was written by a program that this one does not understand.
        """
        with of_text(text, VERSION, "group") as raw:
            raw["levels"] = tuple(tuple(Task(**task) for task in level) for level in raw["levels"])
            return cls(**{**raw, "chains": tuple(raw["chains"])})
