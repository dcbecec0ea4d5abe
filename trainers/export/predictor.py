"""Predictions for raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.encoding.encoder import Encoded, Problem
from nmt.trainers.export.answers import to_answer
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.stage.precision import computing_in

BATCH_ROWS = 8192
"""Rows of a forward pass."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model.

    Attributes:
        table: One column per task: ``float``, or a list of class probabilities; null for a row with a problem.
        problems: Values that could not be used.
    """

    table: pa.Table
    problems: tuple[Problem, ...]


class Predictor:
    """Predicts raw rows with a trained model. It needs torch and pyarrow, nothing else.

    Args:
        model: The model.
        device: Where to compute.

    Attributes:
        model: The model.
        device: Where it computes.

    Raises:
        ValueError: The network cannot be built here.
    """

    def __init__(self, model: TrainedModel, device: str | torch.device = "cpu") -> None:
        self.model = model
        self.device = torch.device(device)
        self._module = model.build().to(self.device)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Predictor:
        """Read the folder of a model.

        Raises:
            FileNotFoundError: It is not the folder of a model.
            ValueError: It is damaged, or of another version.
        """
        return cls(TrainedModel.read(Path(folder)), device)

    def predict(self, rows: Any) -> Any:
        """Predict.

        Args:
            rows: A pandas ``DataFrame``, or whatever :meth:`predictions` takes.

        Returns:
            For a ``DataFrame`` another one of the same index, with one column per task; a row with a value that cannot
            be used has nulls. :class:`Predictions`, which say what is wrong with such rows, for anything else.

        Raises:
            ValueError: A column is missing or has a type that cannot hold its values.
        """
        found = self.predictions(rows)
        return found.table.to_pandas().set_index(rows.index) if is_frame(rows) else found

    def predictions(self, rows: Any) -> Predictions:
        """Predict, and say which values cannot be used.

        Args:
            rows: A ``pyarrow.Table``, a pandas ``DataFrame``, a mapping of columns, or a list of mappings.

        Raises:
            ValueError: A column is missing or has a type that cannot hold its values.
        """
        encoded = self.model.encoder.encode(to_table(rows))
        wrong = np.zeros(encoded.rows, np.bool_)
        wrong[[problem.row for problem in encoded.problems]] = True
        outputs = self.outputs(encoded)
        columns = {
            name: _to_column(to_answer(outputs[name], answer), wrong) for name, answer in self.model.answers.items()
        }
        return Predictions(pa.table(columns), encoded.problems)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """Return the network's output for each task, on the host, shape ``(rows,)`` or ``(rows, classes)``."""
        parts: dict[str, list[Tensor]] = {task.name: [] for task in self.model.tasks}
        with torch.inference_mode(), computing_in(self.model.precision, self._module):
            for first in range(0, max(1, encoded.rows), BATCH_ROWS):
                rows = slice(first, first + BATCH_ROWS)
                found: Mapping[str, Tensor] = self._module(to_batch(encoded, rows, self.device))
                for name, part in parts.items():
                    part.append(found[name].float().cpu())
        return {name: torch.cat(part) for name, part in parts.items()}


def is_frame(rows: Any) -> bool:
    """Return whether rows are a pandas ``DataFrame``; pandas itself is not needed to know."""
    return hasattr(rows, "columns") and hasattr(rows, "to_dict") and hasattr(rows, "index")


def to_table(rows: Any) -> pa.Table:
    """Return rows of any of the kinds that :meth:`Predictor.predictions` takes as a table.

    Raises:
        ValueError: They are of another kind, or a column has no type that pyarrow knows.
    """
    try:
        if isinstance(rows, pa.Table):
            return rows
        if isinstance(rows, pa.RecordBatch):
            return pa.Table.from_batches([rows])
        if isinstance(rows, Mapping):
            return pa.table({name: pa.array(values) for name, values in rows.items()})
        if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
            return pa.Table.from_pylist(list(rows))
        if is_frame(rows):
            return pa.Table.from_pandas(rows, preserve_index=False)
    except pa.ArrowException as error:
        raise ValueError(
            f"the rows cannot be read as a table ({error}); give each column values of one type"
        ) from error
    raise ValueError(
        f"rows are a {type(rows).__name__}; give a pyarrow.Table, a pandas.DataFrame, a mapping of columns or a list "
        "of mappings"
    )


def to_batch(encoded: Encoded, rows: slice, device: torch.device) -> Batch:
    """Return rows as a minibatch without labels, each an example of its own."""
    categorical = torch.from_numpy(encoded.categorical[rows])
    count = len(categorical)
    return Batch(
        categorical=categorical.to(device),
        numeric=torch.from_numpy(encoded.numeric[rows]).to(device),
        packed=torch.from_numpy(np.ascontiguousarray(encoded.packed[rows])).to(device),
        labels=torch.full((count, 0), torch.nan, device=device),
        index=torch.arange(count, device=device),
    )


def _to_column(values: Tensor, wrong: npt.NDArray[np.bool_]) -> pa.Array:
    if values.dim() == 1:
        return pa.array(values.numpy(), mask=wrong)
    flat = pa.array(values.reshape(-1).numpy())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(wrong))
