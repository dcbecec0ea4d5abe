"""The code of every model in MLflow: it reads the folder beside it, and needs neither Ray nor a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from nmt.trainers.export.predictor import Predictor


class ServedModel(PythonModel):
    """Raw columns in, one column per task out."""

    def load_context(self, context: Any) -> None:
        """Read the model."""
        self._predictor = Predictor.load(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict; a row with a value that cannot be used gets nulls.

        Raises:
            ValueError: A column is missing or has a type that cannot hold its values.
        """
        found: pd.DataFrame = self._predictor.predict(model_input)
        return found


mlflow.models.set_model(ServedModel())
