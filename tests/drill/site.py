"""The site of a drill: the data, the size and the environment that all its runs share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from mlflow import MlflowClient

from nmt.trainers.data.prepared import write
from nmt.trainers.data.schema import SPLITS, Numeric, Schema

ROOT = Path(__file__).resolve().parents[2]

TASKS = ("first", "second", "third")


@dataclass(frozen=True)
class Size:
    """Size of the experiment; a stage takes ``epochs × train_rows / batch_size`` steps.

    Attributes:
        train_rows: Training rows; validation and test have a fifth of that each.
        vocabulary: Rows of the embedding, which is most of a checkpoint.
        batch_size: Rows of a global batch.
        epochs: Passes over the data.
        checkpoint_every: Steps between two checkpoints.
        pace: Seconds that each training pass waits.
    """

    train_rows: int = 20_000
    vocabulary: int = 20_000
    batch_size: int = 250
    epochs: int = 6
    checkpoint_every: int = 60
    pace: float = 0.02


@dataclass(frozen=True)
class Site:
    """The data, the size and the environment that all runs share.

    Attributes:
        folder: Folder of all files.
        size: Size of the experiment.
        ray: Folder of Ray's sessions, so that no other cluster on this machine is joined.
    """

    folder: Path
    size: Size
    ray: Path

    @property
    def passes(self) -> Path:
        """Log of the training passes of the current trial."""
        return self.folder / "passes"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of all processes."""
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return {
            "RAY_AUTH_MODE": "disabled",
            **inherited,
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": str(self.ray),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
            "NO_COLOR": "1",
        }


@contextmanager
def prepare_site(folder: Path, size: Size = Size()) -> Iterator[Site]:
    """Prepare the data, and MLflow's empty tables, which take seconds to create."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "mlflow.db").unlink(missing_ok=True)
    write_data(folder / "data", size)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    # The paths of Ray's sockets must be short.
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-drill-", dir="/tmp"))
    try:
        yield Site(folder, size, ray_folder)
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def write_data(folder: Path, size: Size) -> None:
    """Write rows whose three labels depend on different directions of the same features."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, len(TASKS)))
    splits = {}
    for split in SPLITS:
        rows = size.train_rows if split == "train" else size.train_rows // 5
        features = rng.normal(size=(rows, 6))
        labels = features @ directions + rng.logistic(size=(rows, len(TASKS))) > 0.5
        columns: dict[str, Any] = {"item": rng.integers(1, 100, rows)}  # the other ids only fill checkpoints
        columns |= {f"x{number}": features[:, number] for number in range(6)}
        columns |= {task: labels[:, number].astype(float) for number, task in enumerate(TASKS)}
        splits[split] = [pa.table(columns)]
    schema = Schema(
        categorical={"item": size.vocabulary},
        numeric={f"x{number}": Numeric() for number in range(6)},
        labels=dict.fromkeys(TASKS, 2),
        source="synthetic rows",
    )
    write(folder, schema, splits)
