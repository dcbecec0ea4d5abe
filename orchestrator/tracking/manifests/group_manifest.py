"""The manifest of a group: what the log of a sweep, a grid or a comparison needs beyond those of its trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from nmt.orchestrator.tracking.manifests.chain_manifest import RUNNING
from nmt.orchestrator.tracking.manifests.content import dump_manifest, parse_manifest
from nmt.orchestrator.trials.group_outcome import Kind
from nmt.trainers.spec.task import Task

VERSION = 1
"""Format of the file; manifests of any other version are refused."""


@dataclass(frozen=True)
class GroupManifest:
    """One run of a sweep, a grid or a comparison; with its trials' manifests, everything that its log consists of.

    Attributes:
        run_uuid: UUID by which its MLflow run is found.
        kind: Kind of the group.
        name: Name of its MLflow run.
        experiment: Name of the MLflow experiment.
        tracking: Tracking URI, without credentials.
        params: The flattened experiment, and the options of the command.
        levels: Tasks by priority.
        tags: Further tags.
        planned: Planned cost: ``trials``, ``stages`` and ``samples``.
        chains: Names of its trials' manifests, in order; the file of a trial that has not begun does not exist yet.
        started: Start, in seconds since 1970.
        seen: Time of the driver's last write of this manifest, in seconds since 1970.
        host: Name of the driver's machine.
        pid: Process id of the driver there.
        wall_seconds: Duration, summed over interruptions.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; a killed driver leaves ``RUNNING``.
        logged: Whether the tracking store has every record.
    """

    run_uuid: str
    kind: Kind
    name: str
    experiment: str
    tracking: str
    params: Mapping[str, str]
    levels: tuple[tuple[Task, ...], ...]
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
        """Return the text that :meth:`from_json` reads."""
        return dump_manifest(dataclasses.asdict(self), VERSION)

    @classmethod
    def from_json(cls, text: str) -> GroupManifest:
        """Read a manifest.

        Raises:
            ValueError: The text is damaged or of another version.
        """
        with parse_manifest(text, VERSION, "group") as raw:
            raw["levels"] = tuple(tuple(Task(**task) for task in level) for level in raw["levels"])
            return cls(**{**raw, "chains": tuple(raw["chains"])})
