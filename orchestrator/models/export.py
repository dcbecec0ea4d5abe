"""Writes the model of a finished chain to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.orchestrator.errors import RequestError, RunError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.models.logged_model import example_of
from nmt.trainers.export.model_folder import TrainedModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: The folder.
        tasks: Task → what its prediction is.
        origin: Where the model comes from.
    """

    folder: str
    tasks: Mapping[str, str]
    origin: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)


def export_model(prepared: PreparedExperiment, folder: str, *, mlflow: bool = False, program: bool = False) -> Exported:
    """Write the model that an experiment's chain ended with.

    Args:
        prepared: The experiment.
        folder: Folder to write; it is new or empty.
        mlflow: Whether to write an MLflow model, for ``mlflow models serve``.
        program: Whether to add ``program.pt2``, by :mod:`torch.export`.

    Raises:
        RequestError: The chain is not finished, or the folder is not empty.
        RunError: The network cannot be exported as a program.
    """
    model = finished_model(prepared)
    target = Path(folder).expanduser()
    if target.exists() and any(target.iterdir()):
        raise RequestError(f"{folder} is not empty; name a folder that is new")
    if mlflow:
        _save_mlflow(model, target, example_of(prepared, model))
    else:
        model.write(target)
    if program:
        _save_program(model, target)
    return Exported(str(target), dict(model.answers), dict(model.origin))


def _save_mlflow(model: TrainedModel, folder: Path, example: pd.DataFrame | None) -> None:
    from nmt.orchestrator.models.mlflow_model import arguments_of, without_warnings

    with arguments_of(model, example) as arguments, without_warnings():
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(path=str(folder), **arguments)


def _save_program(model: TrainedModel, folder: Path) -> None:
    import torch

    from nmt.trainers.export.program import export_program

    try:
        torch.export.save(export_program(model), folder / "program.pt2")
    except ValueError as error:
        raise RunError(str(error)) from error
