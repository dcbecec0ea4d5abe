"""What runs leave in the storage and in MLflow, without times, and how two of them differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from tests.drill.trial import NAME, Trial
from trainers.store.stage_store import StageStore

OF_A_CLOCK = ("cost/wall_seconds", "cost/worker_seconds", "seconds/")
"""Metrics that differ between two runs of the same."""

OF_THE_MOMENT = ("mlflow.", "nmt.run_uuid")
"""Starts of the tags that do."""


@dataclass(frozen=True)
class Content:
    """What runs leave, without times.

    Attributes:
        keys: Keys of the stages.
        records: Record of each stage.
        states: θ* of each stage.
        logged: MLflow run → what it holds; points are counted, so that one may be there twice.
    """

    keys: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    states: tuple[dict[str, torch.Tensor], ...]
    logged: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def repeated(self) -> list[str]:
        """Points that are there more than once."""
        return [
            f"{run}: {name} at step {step} is there {number} times"
            for run, content in self.logged
            for (name, step), number in Counter((name, step) for name, step, _ in content["points"]).items()
            if number > 1
        ]


def content_of(trial: Trial) -> Content:
    """Read the storage and the tracking store of a trial whose runs are over."""
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
            (name, point.step, None if name.startswith(OF_A_CLOCK) else point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith(OF_THE_MOMENT)}
        content = {
            "status": run.info.status,
            "tags": tags,
            "params": run.data.params,
            "points": sorted(points, key=lambda point: point[:2]),
        }
        yield run.info.run_name, content


def differences(found: Content, expected: Content) -> list[str]:
    """What of the records and of θ* is not as it was without a fault, to the last bit."""
    if found.keys != expected.keys:
        return [f"stages {found.keys} are there, expected {expected.keys}"]
    told = []
    for number, (record, other) in enumerate(zip(found.records, expected.records, strict=True), 1):
        told += [f"stage {number}: {name} differs" for name in other if record.get(name) != other[name]]
    for number, (state, same) in enumerate(zip(found.states, expected.states, strict=True), 1):
        told += [
            f"stage {number}: parameter {name} differs" for name in same if not torch.equal(state[name], same[name])
        ]
    return told


def log_differences(found: Content, expected: Content) -> list[str]:
    """What MLflow has twice, or has not as it has it of an undisturbed run."""
    told = found.repeated
    names, others = [name for name, _ in found.logged], [name for name, _ in expected.logged]
    if names != others:
        return [*told, f"MLflow has the runs {names}, expected {others}"]
    for (name, content), (_, other) in zip(found.logged, expected.logged, strict=True):
        for part in ("status", "tags", "params"):
            if content[part] != other[part]:
                told.append(f"{name}: {part} {content[part]} differ from {other[part]}")
        points, same = set(content["points"]), set(other["points"])
        told += [f"{name}: the point {point} is missing" for point in sorted(same - points, key=str)[:3]]
        told += [f"{name}: the point {point} is one too many" for point in sorted(points - same, key=str)[:3]]
    return told
