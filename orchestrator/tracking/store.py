"""The MLflow tracking store: one MLflow experiment, written in batches, only through ``MlflowClient``."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# The writer retries, after it has read what a failed request did. MLflow's own retries would not read, and would block
# for four minutes. The timeout detects a server that takes a connection and does not answer.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from nmt.orchestrator.tracking.address import page
from nmt.orchestrator.tracking.data_input import DataInput
from nmt.orchestrator.tracking.names import folder_name, run_name, valid_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
"""Limits of MLflow's log-batch request."""

PARAM_LENGTH = 6000

RUN_UUID = "nmt.run_uuid"
"""Tag by which a run is found again, also after a request to create it that may or may not have been carried out."""

_PARENT = "mlflow.parentRunId"


class Point(NamedTuple):
    """One value of a metric; ``at`` in milliseconds since 1970."""

    name: str
    value: float
    step: int
    at: int


class OpenRun(NamedTuple):
    """A run that was found or created.

    Attributes:
        run_id: MLflow's id.
        finished: Whether the store has it as ``FINISHED``; it is then complete.
        found: Whether it existed before.
        tags: Its tags.
    """

    run_id: str
    finished: bool
    found: bool
    tags: Mapping[str, str]


class TrackingStore:
    """One MLflow experiment, in which every record is logged exactly once, despite failures and retries.

    Runs are found by their :data:`RUN_UUID`. An existing run, or one with a failed request, may hold any part of its
    records: before more is logged to it, the metrics and steps that it holds are read, and left out.

    Args:
        uri: Tracking URI.
        name: Experiment name; created when absent.

    Raises:
        mlflow.exceptions.MlflowException: The store cannot be opened.
    """

    def __init__(self, uri: str, name: str) -> None:
        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # callers report failures
        self.uri = uri
        self.logged = 0
        """Number of points logged."""
        self._client = MlflowClient(tracking_uri=uri)
        self._held: dict[str, dict[str, set[int]] | None] = {}
        self._failed_creations: set[str] = set()
        self.experiment_id = self._experiment(name)

    def open_run(
        self,
        run_uuid: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        parent: str | None = None,
        at: int | None = None,
    ) -> OpenRun:
        """Find the run of this ``run_uuid``, or create it, nested below ``parent`` when given.

        An existing run that is not ``FINISHED`` is set to ``RUNNING``.
        """
        nesting = {_PARENT: parent} if parent else {}
        found = self.find_run(run_uuid)
        if found is not None and found.finished:
            return found
        if found is None:
            all_tags = {**{valid_key(key): value for key, value in tags.items()}, RUN_UUID: run_uuid, **nesting}
            try:
                run = self._client.create_run(self.experiment_id, start_time=at, run_name=run_name(name), tags=all_tags)
            except Exception:
                self._failed_creations.add(run_uuid)
                raise
            found = OpenRun(run.info.run_id, finished=False, found=False, tags=all_tags)
        else:
            self.mark_uncertain(found.run_id)
            self._client.update_run(found.run_id, status="RUNNING")
            if parent and found.tags.get(_PARENT) != parent:  # its former parent was deleted
                self.tag(found.run_id, nesting)
        entries = [Param(valid_key(key), value[:PARAM_LENGTH]) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS_PER_BATCH):
            self._client.log_batch(found.run_id, params=entries[start : start + PARAMS_PER_BATCH], synchronous=True)
        return found

    def find_run(self, run_uuid: str) -> OpenRun | None:
        """Return the run of this ``run_uuid``, if this experiment has it."""
        runs = self._search(f"tags.`{RUN_UUID}` = '{run_uuid}'", most=1)
        if not runs:
            return None
        run = runs[0]
        return OpenRun(run.info.run_id, run.info.status == "FINISHED", found=True, tags=dict(run.data.tags))

    def mark_uncertain(self, run_id: str) -> None:
        """Read what a run holds before more is logged to it."""
        self._held.setdefault(run_id, None)

    def data(self, run_id: str, data: DataInput) -> None:
        """Log a data set as an input of a run; MLflow keeps it once, however often it is logged."""
        dataset = Dataset(name=data.name, digest=data.digest, source_type=data.kind, source=data.source)
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, "training")]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def log(self, run_id: str, points: Iterable[Point]) -> None:
        """Log metrics in batches; values that are not finite numbers are left out."""
        metrics = [
            Metric(valid_key(point.name), float(point.value), point.at, point.step)
            for point in points
            if point.value is not None and math.isfinite(point.value)
        ]
        if run_id in self._held:
            held = self._read_steps(run_id, {metric.key for metric in metrics})
            metrics = [metric for metric in metrics if metric.step not in held[metric.key]]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            batch = metrics[start : start + METRICS_PER_BATCH]
            with self._uncertain_after_failure(run_id):
                self._client.log_batch(run_id, metrics=batch, synchronous=True)
            self.logged += len(batch)
            if (known := self._held.get(run_id)) is not None:
                for metric in batch:
                    known[metric.key].add(metric.step)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        entries = [RunTag(valid_key(key), value) for key, value in tags.items()]
        with self._uncertain_after_failure(run_id):
            self._client.log_batch(run_id, tags=entries, synchronous=True)

    def figure(self, run_id: str, figure: Figure, path: str) -> None:
        """Log a figure as an artifact of a run."""
        with self._uncertain_after_failure(run_id):
            self._client.log_figure(run_id, figure, path)

    def document(self, run_id: str, content: Mapping[str, object], path: str) -> None:
        """Log a JSON document as an artifact of a run."""
        with self._uncertain_after_failure(run_id):
            self._client.log_dict(run_id, dict(content), path)

    def file(self, run_id: str, content: bytes, path: str) -> None:
        """Log a file as an artifact of a run."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as place, self._uncertain_after_failure(run_id):
            (Path(place) / name).write_bytes(content)
            self._client.log_artifact(run_id, f"{place}/{name}", folder or None)

    def table(self, run_id: str, columns: Mapping[str, Sequence[object]], path: str) -> None:
        """Log a table, given by columns, which MLflow shows and compares between runs, unless the run has one there."""
        with self._uncertain_after_failure(run_id):
            if path in {file.path for file in self._client.list_artifacts(run_id)}:  # MLflow would append to it
                return
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "For backward compatibility, 'str' dtypes")  # MLflow on pandas 3
                self._client.log_table(run_id, {name: list(values) for name, values in columns.items()}, path)

    def end_run(self, run_id: str, status: str, at: int | None = None) -> None:
        """End a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        with self._uncertain_after_failure(run_id):
            if self._failed_creations:
                self._delete_duplicates(run_id)
            self._client.set_terminated(run_id, status=status, end_time=at)
        self._held.pop(run_id, None)

    def run_of_stage(self, key: str) -> str | None:
        """Return the id of the run that trained the stage of this key, if this experiment has it."""
        runs = self._search(f"tags.`nmt.stage_key` = '{key}' and attributes.status = 'FINISHED'", most=1)
        return runs[0].info.run_id if runs else None

    def experiment_tags(self) -> Mapping[str, str]:
        """Return the tags of the experiment."""
        return dict(self._client.get_experiment(self.experiment_id).tags)

    def set_experiment_tag(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, key, value)

    def link(self, run_id: str) -> str | None:
        """Return the address of a run's page, or ``None`` where the store is no server."""
        if not self.uri.startswith("http"):
            return None
        return page(self.uri, self.experiment_id, run_id)

    @contextmanager
    def _uncertain_after_failure(self, run_id: str) -> Iterator[None]:
        """Mark the run as uncertain after a failed request, which may have been carried out all the same."""
        try:
            yield
        except Exception:
            self._held[run_id] = None
            raise

    def _search(self, condition: str, most: int) -> Sequence[Any]:
        """Return runs of this experiment, oldest first."""
        runs: Sequence[Any] = self._client.search_runs(
            [self.experiment_id],
            filter_string=condition,
            order_by=["attributes.start_time ASC"],
            max_results=most,
        )
        return runs

    def _read_steps(self, run_id: str, names: Iterable[str]) -> Mapping[str, set[int]]:
        held = self._held[run_id]
        if held is None:
            held = self._held[run_id] = {}
        there: Mapping[str, float] | None = None
        for name in names:
            if name not in held:
                if there is None:
                    there = self._client.get_run(run_id).data.metrics
                history = self._client.get_metric_history(run_id, name) if name in there else []
                held[name] = {metric.step for metric in history}
        return held

    def _delete_duplicates(self, run_id: str) -> None:
        """Delete empty runs of the same UUID: a failed request to create a run may be carried out much later."""
        run_uuid = self._client.get_run(run_id).data.tags.get(RUN_UUID)
        if run_uuid in self._failed_creations:
            for run in self._search(f"tags.`{RUN_UUID}` = '{run_uuid}'", most=100):
                if run.info.run_id != run_id and not run.data.metrics:
                    self._client.delete_run(run.info.run_id)
            self._failed_creations.discard(run_uuid)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise MlflowException(
                    f"the MLflow experiment {name!r} was deleted; restore it (mlflow experiments restore), "
                    "or change 'name' in the experiment file",
                    error_code=INVALID_PARAMETER_VALUE,
                )
            return str(found.experiment_id)
        location = None
        if self.uri.startswith("sqlite:///"):
            # MLflow's default is relative to the working directory.
            location = (Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / folder_name(name)).as_uri()
        try:
            # Without this tag the page asks for the kind of the experiment.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException:
            found = self._client.get_experiment_by_name(name)  # another process has created it
            if found is None:
                raise
            return str(found.experiment_id)


def run_of_chain(uri: str, experiment: str, stage_key: str) -> str | None:
    """Return the id of the finished run of a chain whose last stage has this key; ``None`` if there is none.

    Args:
        uri: Tracking URI.
        experiment: Name of the experiment.
        stage_key: The key.

    Raises:
        MlflowException: The store is away.
    """
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    condition = f"tags.`nmt.stage_key` = '{stage_key}' and attributes.status = 'FINISHED'"
    stages = client.search_runs([found.experiment_id], condition, order_by=["attributes.start_time DESC"])
    parents = [run.data.tags.get("mlflow.parentRunId") for run in stages]
    return next((parent for parent in parents if parent is not None), None)


def milliseconds(seconds: float | None = None) -> int:
    """Return a time, by default the present, in milliseconds since 1970."""
    return int(1000 * (time.time() if seconds is None else seconds))
