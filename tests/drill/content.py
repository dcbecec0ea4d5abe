"""The contents of the storage and of MLflow after a run, without times, and their differences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from nmt.trainers.store.stage_store import StageStore
from tests.drill.trial import NAME, Trial

TIMES = ("cost/wall_seconds", "cost/worker_seconds", "seconds/")
"""Start of the names of metrics that are times."""

RUN_TAGS = ("mlflow.", "nmt.run_uuid")
"""Start of the names of tags that differ between any two runs."""


ADDRESSES = ("nmt.model",)
"""Tags that every run of a chain has, with an address that differs between any two stores."""


@dataclass(frozen=True)
class Content:
    """The contents of the storage and of MLflow, without times.

    Attributes:
        keys: Keys of the stages.
        records: Record of each stage.
        states: θ* of each stage.
        logged: Name and content of each MLflow run; its points are a list, so that duplicates show.
    """

    keys: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    states: tuple[dict[str, torch.Tensor], ...]
    logged: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def repeated(self) -> list[str]:
        """Points that MLflow has more than once."""
        return [
            f"{run}: {name} at step {step} occurs {number} times"
            for run, content in self.logged
            for (name, step), number in Counter((name, step) for name, step, _ in content["points"]).items()
            if number > 1
        ]


def read_content(trial: Trial) -> Content:
    """Read the storage and the tracking store of a trial after its runs."""
    found = {}
    for path in trial.storage.glob("stages/*/record.json"):
        record = json.loads(path.read_text())
        del record["wall_seconds"], record["seconds"], record["trained_by"]
        found[record["stage"]] = record
    records = tuple(found[stage] for stage in sorted(found))
    keys = tuple(record["key"] for record in records)
    store = StageStore(str(trial.storage))
    return Content(keys, records, tuple(store.state(key) for key in keys), tuple(_logged(trial.database)))


def _logged(database: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(NAME)
    runs = client.search_runs([experiment.experiment_id]) if experiment is not None else []
    for run in sorted(runs, key=lambda run: run.info.run_name):
        points = [
            (name, point.step, None if name.startswith(TIMES) else point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        tags = {
            name: "an address" if name in ADDRESSES else value
            for name, value in run.data.tags.items()
            if not name.startswith(RUN_TAGS)
        }
        content = {
            "status": run.info.status,
            "tags": tags,
            "params": run.data.params,
            "points": sorted(points, key=lambda point: point[:2]),
        }
        yield run.info.run_name, content


def differences(found: Content, expected: Content) -> list[str]:
    """List the differences of records and θ*, bit by bit."""
    if found.keys != expected.keys:
        return [f"the storage has the stages {found.keys}, expected {expected.keys}"]
    lines = []
    for number, (record, other) in enumerate(zip(found.records, expected.records, strict=True), 1):
        lines += [f"stage {number}: {name} differs" for name in other if record.get(name) != other[name]]
    for number, (state, same) in enumerate(zip(found.states, expected.states, strict=True), 1):
        lines += [
            f"stage {number}: parameter {name} differs" for name in same if not torch.equal(state[name], same[name])
        ]
    return lines


def log_differences(found: Content, expected: Content) -> list[str]:
    """List the differences in MLflow, and the points that it has more than once."""
    lines = found.repeated
    names, others = [name for name, _ in found.logged], [name for name, _ in expected.logged]
    if names != others:
        return [*lines, f"MLflow has the runs {names}, expected {others}"]
    for (name, content), (_, other) in zip(found.logged, expected.logged, strict=True):
        for part in ("status", "tags", "params"):
            if content[part] != other[part]:
                lines.append(f"{name}: {part} {content[part]} differ from {other[part]}")
        points, same = set(content["points"]), set(other["points"])
        lines += [f"{name}: the point {point} is missing" for point in sorted(same - points, key=str)[:3]]
        lines += [f"{name}: the point {point} is unexpected" for point in sorted(points - same, key=str)[:3]]
    return lines
