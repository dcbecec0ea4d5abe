"""A small chain as its events, its records in a storage, and what MLflow has of it."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from nmt.orchestrator.tracking import store
from nmt.orchestrator.tracking.chain_live import LiveTracking
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Evaluated, Event, Progress, StageFinished
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from nmt.trainers.store.stage_store import StageStore, StoredReferences

from . import _records

NAME = "tracked"
LEVELS = (("pay",), ("amount", "like"), ("relevance",))
PARAMS = {"name": NAME, "training.eta_theta": "0.001", "scaling.workers": "1"}
SPEC = ChainSpec(
    levels=tuple(tuple(Task(name, "binary_cross_entropy") for name in level) for level in LEVELS),
    model=ModelSpec("scorer", {"units": [4]}),
    training=Training().settle(),
    batch_size=10,
    data_fingerprint="0123",
)

#: What differs between two runs of the same.
OF_THE_MOMENT = ("mlflow.", "nmt.run_uuid", "nmt.reused_from")


def records() -> tuple[StageRecord, ...]:
    """Records of a chain, under the keys that the program would look for."""
    keys = SPEC.stage_keys()
    found = _records.chain(LEVELS, steps=20, evaluations=4, joint=True)
    return tuple(
        replace(record, key=key, parent=parent) for record, key, parent in zip(found, keys, (None, *keys), strict=False)
    )


def events(record: StageRecord, upto: int | None = None) -> Iterator[Event]:
    """What a worker reports while it trains a stage, all of it or up to a step, without the end."""
    yield _records.started(record)
    step = 0
    for candidate in record.candidates:
        if upto is not None and candidate.step > upto:
            return
        rows = tuple(row for row in record.rows if step < row.step <= candidate.step)
        step = candidate.step
        if rows:
            yield Progress(record.stage, step, rows)
        yield Evaluated(record.stage, candidate)


@dataclass
class Project:
    """A storage and a tracking store."""

    folder: Path
    uri: str
    said: list[LiveTracking] = field(default_factory=list)

    @property
    def storage(self) -> str:
        return str(self.folder / "runs")

    def keep(self, *finished: StageRecord) -> None:
        """What a worker does before it reports that a stage is finished."""
        for record in finished:
            StageStore(self.storage).write(record, {}, StoredReferences({}, {}))

    def track(self, params: dict[str, str] = PARAMS, uri: str | None = None) -> LiveTracking:
        tracking = LiveTracking(uri or self.uri, NAME, SPEC, params, self.storage)
        self.said.append(tracking)
        return tracking

    def train(self, tracking: LiveTracking, chain: Sequence[StageRecord]) -> None:
        """Deliver the events of stages that are trained."""
        for record in chain:
            for event in events(record):
                tracking.write(event)
            self.keep(record)
            tracking.write(StageFinished(record, reused=False))

    def run(self, **how: Any) -> LiveTracking:
        """A whole chain, found in the storage or trained."""
        tracking = self.track(**how)
        for record in records():
            if StageStore(self.storage).read(record.key) is not None:
                tracking.write(StageFinished(record, reused=True))
            else:
                self.train(tracking, [record])
        tracking.close("FINISHED")
        return tracking

    def runs(self) -> list[Any]:
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(NAME)
        if experiment is None:
            return []
        found = client.search_runs([experiment.experiment_id])
        return sorted(found, key=lambda run: run.data.tags["nmt.run_uuid"].partition(".")[::2])

    def content(self) -> list[dict[str, Any]]:
        """All that MLflow has, except ids and what a clock said; points as a list, so that one may be there twice."""
        client = MlflowClient(self.uri)
        found = []
        for run in self.runs():
            points = [
                (name, point.step, point.value if name != "cost/wall_seconds" else None)
                for name in run.data.metrics
                for point in client.get_metric_history(run.info.run_id, name)
            ]
            tags = {key: value for key, value in run.data.tags.items() if not key.startswith(OF_THE_MOMENT)}
            artifacts = [file.path for file in client.list_artifacts(run.info.run_id)]
            artifacts += [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
            found.append(
                {
                    "name": run.info.run_name,
                    "status": run.info.status,
                    "tags": tags,
                    "params": run.data.params,
                    "points": sorted(points, key=str),
                    "artifacts": artifacts,
                }
            )
        return found


def in_folder(folder: Path, database: Path) -> Project:
    """An empty storage and, since their making takes seconds, a copy of MLflow's empty tables."""
    shutil.copy(database, folder / "mlflow.db")
    return Project(folder, f"sqlite:///{folder}/mlflow.db")


Fault = Literal["", "before", "after"]


class Unreliable(MlflowClient):
    """A client whose requests fail, before or after they were carried out, and which counts what was carried out."""

    fault: Callable[[str], Fault]
    logged: Counter[tuple[str, str, int]]
    created: Counter[str]
    asked: Counter[str]

    def _ask(self, request: str, *args: Any, **kwargs: Any) -> Any:
        self.asked[request] += 1
        fault = type(self).fault(request)
        if fault != "before":
            result = getattr(super(), request)(*args, **kwargs)
            if request == "log_batch":
                self.logged.update((args[0], metric.key, metric.step) for metric in kwargs.get("metrics", ()))
            elif request == "create_run":
                self.created[kwargs["tags"]["nmt.run_uuid"]] += 1
        if fault:
            raise MlflowException(f"the connection broke {fault} {request}", error_code=TEMPORARILY_UNAVAILABLE)
        return result


def _method(request: str) -> Callable[..., Any]:
    def ask(self: Unreliable, *args: Any, **kwargs: Any) -> Any:
        return self._ask(request, *args, **kwargs)

    return ask


for _request in (
    "create_run",
    "get_experiment_by_name",
    "get_metric_history",
    "get_run",
    "log_batch",
    "log_dict",
    "log_figure",
    "search_runs",
    "set_experiment_tag",
    "set_terminated",
    "update_run",
):
    setattr(Unreliable, _request, _method(_request))


def unreliable(fault: Callable[[str], Fault]) -> type[Unreliable]:
    """A class of clients that share their faults and counts."""
    return type(
        "Unreliable",
        (Unreliable,),
        {"fault": staticmethod(fault), "logged": Counter(), "created": Counter(), "asked": Counter()},
    )


def by_chance(seed: int, share: float) -> Callable[[str], Fault]:
    """Faults of a share of all requests, half of them after the request was carried out."""
    draw = random.Random(seed)

    def fault(_: str) -> Fault:
        if draw.random() >= share:
            return ""
        return "before" if draw.random() < 0.5 else "after"

    return fault


def use(monkeypatch: pytest.MonkeyPatch, client: type[Unreliable]) -> type[Unreliable]:
    """Let the tracking store use such clients."""
    monkeypatch.setattr(store, "MlflowClient", client)
    return client
