"""Where a model is: a folder, a run of MLflow, or a version in its registry."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

from nmt.orchestrator.errors import RequestError, first_line
from nmt.trainers.export.model_folder import MODEL
from nmt.trainers.export.predictor import Predictor

INSIDE = "artifacts/model"
"""Folder of :mod:`nmt.trainers.export.model_folder` inside an MLflow model."""


def fetch(address: str, tracking: str | None = None) -> Path:
    """Return the local folder of a model.

    Args:
        address: A folder, ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/RUN/PATH``. A folder may be one
            that ``nmt export`` wrote or an MLflow model.
        tracking: MLflow's tracking URI; its default when absent. A folder needs none.

    Raises:
        RequestError: There is no such model.
    """
    if not address.startswith(("models:/", "runs:/")):
        return _inside(Path(address).expanduser(), address)
    import mlflow
    from mlflow.exceptions import MlflowException

    where = mlflow.get_tracking_uri() if tracking is None else tracking
    try:
        folder = mlflow.artifacts.download_artifacts(
            artifact_uri=address, dst_path=mkdtemp(prefix="nmt-model-"), tracking_uri=where, registry_uri=where
        )
    except (MlflowException, OSError) as error:
        raise RequestError(
            f"{address} is not at {where}: {first_line(error).rstrip('.')}; name a version or alias that is there "
            "(nmt register makes one), or the folder of a model, which needs no server"
        ) from error
    return _inside(Path(folder), address)


def load_predictor(address: str, tracking: str | None = None, device: str = "cpu") -> Predictor:
    """Return the model at an address of :func:`fetch`, ready to predict.

    Raises:
        RequestError: There is no such model, it is damaged, or the device is not there.
    """
    try:
        return Predictor.load(fetch(address, tracking), device)
    except (ValueError, FileNotFoundError) as error:
        raise RequestError(str(error)) from error
    except RuntimeError as error:
        raise RequestError(f"device {device}: {first_line(error)}") from error


def _inside(folder: Path, address: str) -> Path:
    for place in (folder, folder / INSIDE):
        if (place / MODEL).is_file():
            return place
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) if folder.is_dir() else "no such folder"
    raise RequestError(
        f"{address} is no model of nmt: it has no {MODEL} ({found}); export one with nmt export FILE FOLDER"
    )
