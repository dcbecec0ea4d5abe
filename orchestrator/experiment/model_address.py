"""Where a model is: a folder, a run of MLflow, or a version in its registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError, first_line
from nmt.trainers.export.model_folder import MODEL, TrainedModel

INSIDE = "artifacts/model"
"""Folder of :mod:`nmt.trainers.export.model_folder` inside an MLflow model."""


def read_model(address: str, tracking: str | None = None) -> TrainedModel:
    """Read a model; what is fetched for it does not stay on the disk.

    Args:
        address: A folder, ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/RUN/PATH``. A folder may be one
            that ``nmt export`` wrote or an MLflow model.
        tracking: MLflow's tracking URI; its default when absent. A folder needs none.

    Raises:
        RequestError: There is no such model, or it is damaged or of another version.
    """
    if not address.startswith(("models:/", "runs:/")):
        return _read(Path(address).expanduser(), address)
    with TemporaryDirectory(prefix="nmt-model-") as temporary:
        return _read(_fetch(address, tracking, temporary), address)


def _fetch(address: str, tracking: str | None, target: str) -> Path:
    # As for tracking: a registry that is away is reported at once, where MLflow itself tries for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    import mlflow
    from mlflow.exceptions import MlflowException

    where = mlflow.get_tracking_uri() if tracking is None else tracking
    try:
        with at_store(where):
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=target))
    except (MlflowException, OSError) as error:
        there = _there(address, where) or first_line(error)
        raise RequestError(
            f"{address} is not at {without_credentials(where)}: {there}; name a version or alias that is there "
            "(nmt register makes one), or the folder of a model, which needs no server"
        ) from error


def _read(folder: Path, address: str) -> TrainedModel:
    try:
        return TrainedModel.read(_inside(folder, address))
    except (ValueError, FileNotFoundError) as error:
        raise RequestError(f"{address}: {error}") from error


@contextmanager
def at_store(uri: str) -> Iterator[None]:
    """Let MLflow's fluent functions use a store: they know one for the whole process, which may be the user's own."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)  # the registry is there too, unless one is set apart
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _there(address: str, where: str) -> str:
    """Say what the registry has in place of an address that it lacks; empty where it cannot say."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    name = address.removeprefix("models:/").partition("@")[0].partition("/")[0]
    try:
        client = MlflowClient(where, registry_uri=where)
        models = client.search_registered_models()
        known = [model for model in models if model.name == name]
        if not known:
            return f"its models are {', '.join(model.name for model in models) or 'none'}"
        versions = [str(found.version) for found in client.search_model_versions(f"name = '{name}'")]
        aliases = [f"{alias} (version {version})" for alias, version in known[0].aliases.items()]
        return f"{name} has versions {', '.join(reversed(versions))} and aliases {', '.join(aliases) or 'none'}"
    except (MlflowException, OSError):
        return ""


def _inside(folder: Path, address: str) -> Path:
    for place in (folder, folder / INSIDE):
        if (place / MODEL).is_file():
            return place
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) if folder.is_dir() else "no such folder"
    raise RequestError(
        f"{address} is no model of nmt: it has no {MODEL} ({found}); export one with nmt export FILE FOLDER"
    )
