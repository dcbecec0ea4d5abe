"""The model of a chain that has just finished, logged to its run in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.models.rows import RowFiles
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

ROWS = 3
"""Rows of the input example."""


def log_finished_model(prepared: PreparedExperiment, run_id: str) -> str:
    """Log the model that an experiment's chain ended with, once however often the chain is run; return its address.

    Args:
        prepared: The experiment.
        run_id: Run of the chain.

    Raises:
        RequestError: The chain is not finished, or its model is damaged.
        RunError: The tracking store does not take the model.
    """
    from nmt.orchestrator.models.mlflow_model import log_model  # MLflow takes seconds to import

    model = finished_model(prepared)
    return log_model(prepared.experiment.tracking, run_id, model, lambda: example_of(prepared, model))


def example_of(prepared: PreparedExperiment, model: TrainedModel) -> pd.DataFrame | None:
    """Return a few raw rows that the model can predict; ``None`` where the data source's input has no such rows."""
    data = prepared.experiment.data
    columns = list(model.encoder.columns)
    if data.source is None or data.path is None:
        return None
    try:
        files = RowFiles(data.path)
        if not set(columns) <= set(files.names):
            return None
        rows = next(files.batches(columns)).drop_null().slice(0, ROWS)
        problems = Predictor(model).predictions(rows).problems
    except (RequestError, ValueError, StopIteration):
        return None
    return None if problems or not rows.num_rows else rows.to_pandas()
