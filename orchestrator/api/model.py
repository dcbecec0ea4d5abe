"""``nmt.load``, ``predict``, ``evaluate``, ``export`` and ``register``: a trained model after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.orchestrator.api.request import Request, to_prepared
from nmt.orchestrator.errors import RequestError, first_line
from nmt.orchestrator.models.evaluate import Evaluation, evaluate_files
from nmt.orchestrator.models.export import Exported, export_model
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.models.loading import load_predictor
from nmt.orchestrator.models.predict import Predicted, predict_files
from nmt.orchestrator.verbs.run import ChainOutcome
from nmt.trainers.export.predictor import Predictor

if TYPE_CHECKING:
    from nmt.orchestrator.models.mlflow_model import Registered

Model = str | Path | ChainOutcome | Predictor
"""A folder, ``models:/NAME@ALIAS``, ``models:/NAME/2``, ``runs:/RUN/PATH``, what ``nmt.run`` returned, a loaded one."""


def load(model: Model, *, tracking: str | None = None, device: str = "cpu") -> Predictor:
    """Load a model, whose ``predict`` takes raw rows and gives a ``DataFrame`` for a ``DataFrame``.

    Args:
        model: Where it is. The result of ``nmt.run`` is read from its storage, and needs no MLflow.
        tracking: MLflow's tracking URI, for a model in its registry; MLflow's default when absent.
        device: Where to compute, such as ``cuda``.

    Raises:
        RequestError: There is no such model, it is damaged, or the device is not there.
    """
    match model:
        case Predictor():
            return model
        case ChainOutcome():
            try:
                return Predictor(finished_model(model.prepared), device)
            except (ValueError, RuntimeError) as error:
                raise RequestError(f"the model cannot be built on {device}: {first_line(error)}") from error
        case str() | Path():
            return load_predictor(str(model), tracking, device)
        case _:
            raise RequestError(
                f"the model is a {type(model).__name__}; give a folder, models:/NAME@ALIAS, runs:/…, or what nmt.run "
                "returned"
            )


def predict(
    model: Model,
    data: str | Path,
    out: str | Path,
    *,
    keep: Sequence[str] = (),
    prefix: str = "",
    workers: int | None = None,
    tracking: str | None = None,
    device: str = "cpu",
    address: str | None = None,
) -> Predicted:
    """Predict the raw rows of files: one row out per row in, in their order; memory does not grow with their number.

    Args:
        model: The model.
        data: Parquet, CSV or Arrow: a file, a folder, or its URI.
        out: File to write, ``.parquet`` or ``.csv``; its column ``problem`` says why a row has no prediction.
        keep: Columns of the data to write too.
        prefix: Put before the names of the tasks.
        workers: Processes that predict, on Ray if more than one; by default one, or several for 1 GiB or more.
        tracking: MLflow's tracking URI, for a model in its registry.
        device: Where to compute.
        address: Ray cluster to join, whose nodes all reach the data; by default Ray is started on this machine.

    Raises:
        RequestError: There is no such model, or a column is missing or cannot be used.
        RunError: A worker was lost.
    """
    if isinstance(keep, str):
        raise RequestError(f"keep is the text {keep!r}; give a list of columns, such as [{keep!r}]")
    predictor = load(model, tracking=tracking, device=device)
    return predict_files(predictor, str(data), str(out), keep=keep, prefix=prefix, workers=workers, address=address)


def evaluate(
    model: Model,
    data: str | Path,
    *,
    against: Model | None = None,
    where: str | None = None,
    tracking: str | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Measure a model on raw rows with labels: losses and metrics, with paired errors against another model.

    Args:
        model: The model.
        data: File or folder of raw rows with labels.
        against: Another model, compared row by row.
        where: ``column=value``: only these rows, such as ``split=test``.
        tracking: MLflow's tracking URI, for a model in its registry.
        device: Where to compute.

    Raises:
        RequestError: There is no such model, a column is missing or cannot be used, or the data have no label.
    """
    other = None if against is None else load(against, tracking=tracking, device=device)
    found = evaluate_files(load(model, tracking=tracking, device=device), str(data), other, where)
    return Evaluation(_name(model), None if against is None else _name(against), tuple(found))


def export(
    experiment: Request | ChainOutcome,
    folder: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    mlflow: bool = False,
    program: bool = False,
) -> Exported:
    """Write the model of a finished chain to a folder that predicts raw rows.

    Args:
        experiment: The experiment, or what ``nmt.run`` returned for it.
        folder: Folder to write; it is new or empty.
        set: Overrides, the same as for the run.
        mlflow: Whether to write an MLflow model, for ``mlflow models serve``.
        program: Whether to add ``program.pt2``, by :mod:`torch.export`.

    Raises:
        RequestError: The chain is not finished, or the folder is not empty.
        RunError: The network cannot be exported as a program.
    """
    return export_model(to_prepared(experiment, set), str(folder), mlflow=mlflow, program=program)


def register(
    experiment: Request | ChainOutcome,
    name: str,
    alias: str | None = None,
    *,
    set: Mapping[str, Any] | None = None,
    although_broken: bool = False,
    although_worse: bool = False,
) -> Registered:
    """Make the model of a finished chain a version in MLflow's registry, with its guarantees.

    Args:
        experiment: The experiment, or what ``nmt.run`` returned for it.
        name: Name of the registered model.
        alias: Alias that shall point to the version, such as ``champion``.
        set: Overrides, the same as for the run.
        although_broken: Register it although a guarantee did not hold.
        although_worse: Register it, and move the alias, although it is worse than the live model.

    Raises:
        RequestError: The chain is not finished or not tracked, a guarantee did not hold, or the alias must not move.
        RunError: The tracking store or its registry does not take the model.
    """
    from nmt.orchestrator.models.registration import register_chain  # MLflow takes seconds to import

    return register_chain(
        to_prepared(experiment, set), name, alias, although_broken=although_broken, although_worse=although_worse
    )


def _name(model: Model) -> str:
    match model:
        case ChainOutcome():
            return model.model or f"stage {model.records[-1].key}"
        case Predictor():
            return f"stage {model.model.origin.get('stage_key')}"
        case _:
            return str(model)
