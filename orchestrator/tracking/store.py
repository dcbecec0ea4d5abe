"""The MLflow tracking store: one experiment per experiment name, written in batches, only through ``MlflowClient``."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# A tracking server that is away would block a call for four minutes by default.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
"""Limits of MLflow's log-batch request."""

PARAM_LENGTH = 6000

Point = tuple[str, float, int]
"""Metric name, value, step."""


class TrackingStore:
    """One MLflow experiment.

    Args:
        uri: Tracking URI.
        name: Experiment name; created when absent.

    Raises:
        mlflow.exceptions.MlflowException: The store cannot be opened.
    """

    def __init__(self, uri: str, name: str) -> None:
        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        self.uri = uri
        self._client = MlflowClient(tracking_uri=uri)
        self.experiment_id = self._experiment(name)

    def start_run(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, str], parent: str | None = None
    ) -> str:
        """Create a run, nested below ``parent`` when given; returns its id."""
        nesting = {"mlflow.parentRunId": parent} if parent else {}
        run = self._client.create_run(self.experiment_id, run_name=name, tags={**tags, **nesting})
        run_id: str = run.info.run_id
        entries = [Param(key, value[:PARAM_LENGTH]) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])
        return run_id

    def log(self, run_id: str, points: Iterable[Point]) -> None:
        """Log metrics in batches; values that are not finite numbers are left out."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, step)
            for name, value, step in points
            if value is not None and math.isfinite(value)
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def figure(self, run_id: str, figure: Figure, path: str) -> None:
        """Keep a picture as an artifact of a run."""
        self._client.log_figure(run_id, figure, path)

    def document(self, run_id: str, content: Mapping[str, object], path: str) -> None:
        """Keep a JSON document as an artifact of a run."""
        self._client.log_dict(run_id, dict(content), path)

    def end_run(self, run_id: str, status: str) -> None:
        """End a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client.set_terminated(run_id, status=status)

    def run_of_stage(self, key: str) -> str | None:
        """The run that trained the stage of this key, if this experiment has it."""
        runs = self._client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`nmt.stage_key` = '{key}' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def link(self, run_id: str) -> str | None:
        """Address of a run's page, when the store is a server."""
        if not self.uri.startswith("http"):
            return None
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise MlflowException(
                    f"the MLflow experiment {name!r} was deleted; restore it (mlflow experiments restore), "
                    "or change 'name' in the experiment file"
                )
            return str(found.experiment_id)
        location = None
        if self.uri.startswith("sqlite:///"):
            # The default is relative to whatever folder a process stands in.
            location = (Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / name).as_uri()
        try:
            # Opens as model training; without it the page asks what kind of experiment this is.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException:
            found = self._client.get_experiment_by_name(name)  # somebody else was faster
            if found is None:
                raise
            return str(found.experiment_id)
