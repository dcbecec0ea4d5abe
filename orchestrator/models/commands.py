"""The commands of trained models: ``nmt export``, ``register``, ``predict`` and ``evaluate``."""

from __future__ import annotations

import json as json_
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nmt.orchestrator.errors import RequestError, RunError
from nmt.orchestrator.terminal.current_output import current_output

if TYPE_CHECKING:
    from nmt.trainers.export.model_folder import TrainedModel
    from nmt.trainers.export.predictor import Predictor

app = typer.Typer()

File = Annotated[str, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, models:/NAME@ALIAS, models:/NAME/2, runs:/…")]
DataFiles = Annotated[str, typer.Argument(metavar="DATA", help="Raw rows: Parquet, CSV, Arrow; file, folder, URI.")]
Tracking = Annotated[str | None, typer.Option(help="MLflow's tracking URI, for a MODEL in its registry.")]
Device = Annotated[str, typer.Option(help="Where to compute, such as cuda.")]


@app.command()
def export(
    file: File,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder to write.")],
    set: Set = [],  # noqa: B006
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Write an MLflow model, for mlflow models serve.")] = False,
    program: Annotated[bool, typer.Option("--program", help="Add program.pt2, by torch.export.")] = False,
    json: Json = False,
) -> None:
    """Write the model of a finished chain to a folder that predicts raw rows."""
    from nmt.orchestrator.experiment.prepared import prepare
    from nmt.orchestrator.models.finished import finished_model

    model = finished_model(prepare(file, set, current_output().say))
    target = Path(folder).expanduser()
    if target.exists() and any(target.iterdir()):
        raise RequestError(f"{folder} is not empty; name a folder that is new")
    if mlflow:
        _save_mlflow(model, target)
    else:
        model.write(target)
    if program:
        _save_program(model, target)
    document = {"folder": str(target), "tasks": dict(model.answers), "origin": dict(model.origin)}
    words = ", ".join(f"{task} ({answer})" for task, answer in model.answers.items())
    _print(document, json, lambda out: out.print(f"{folder}: {words}", soft_wrap=True, highlight=False))


@app.command()
def register(
    file: File,
    name: Annotated[str, typer.Option(help="Name of the registered model.")],
    alias: Annotated[str | None, typer.Option(help="Alias that shall point to the version, such as champion.")] = None,
    although_broken: Annotated[
        bool, typer.Option("--although-broken", help="Register it although a guarantee did not hold.")
    ] = False,
    although_worse: Annotated[
        bool, typer.Option("--although-worse", help="Move the alias although the live model is better.")
    ] = False,
    set: Set = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Make the model of a finished chain a version in MLflow's registry, with its guarantees."""
    from nmt.orchestrator.experiment.prepared import prepare
    from nmt.orchestrator.models.finished import against_live, finished_model
    from nmt.orchestrator.models.mlflow_model import log_model, register_model
    from nmt.orchestrator.tracking.store import run_of_chain

    prepared = prepare(file, set, current_output().say)
    model = finished_model(prepared)
    tracking = prepared.experiment.tracking
    run_id = run_of_chain(tracking, prepared.experiment.name, str(model.origin["stage_key"]))
    if run_id is None:
        raise RequestError(f"the tracking store has no finished run of this chain; log it with: nmt sync {file}")
    uri = log_model(tracking, run_id, model)
    live = against_live(prepared)
    made = register_model(
        tracking,
        run_id,
        uri,
        model,
        name,
        alias,
        although_broken=although_broken,
        although_worse=although_worse,
        live=live,
    )
    also = f", now {alias}" if alias else ""
    said = f"{made.uri}{also}: run {run_id}" + (f". {live['sentence']}" if live is not None else "")
    document = {**vars(made), "live": live}
    _print(document, json, lambda out: out.print(said, soft_wrap=True, highlight=False))


@app.command()
def predict(
    model: Model,
    data: DataFiles,
    out: Annotated[str, typer.Argument(metavar="OUT", help="File to write, .parquet or .csv.")],
    keep: Annotated[str | None, typer.Option(help="Columns of DATA to write too: user_id,video_id.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the tasks.")] = "",
    tracking: Tracking = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Predict raw rows: one row out per row in, in their order; rows that cannot be predicted say why."""
    from nmt.orchestrator.models.predict import predict_files

    predictor = _predictor(model, tracking, device)
    kept = [name.strip() for name in keep.split(",") if name.strip()] if keep else []
    done = predict_files(predictor, data, out, keep=kept, prefix=prefix)
    for problem in done.problems:
        current_output().say(f"row {problem['row']}: {problem['column']}: {problem['text']}", "bad_row", "warning")
    bad = f", of which {done.bad_rows:,} have no prediction, see the column problem" if done.bad_rows else ""
    line = f"{out}: {done.rows:,} rows{bad}"
    _print(done.to_dict(), json, lambda console: console.print(line, soft_wrap=True, highlight=False))


@app.command()
def evaluate(
    model: Model,
    data: DataFiles,
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="Another model, compared row by row.")] = None,
    where: Annotated[str | None, typer.Option(metavar="COLUMN=VALUE", help="Only these rows: split=test.")] = None,
    tracking: Tracking = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Measure a model on raw rows with labels: losses and metrics, with paired errors against another model."""
    from nmt.orchestrator.models.evaluate import evaluate_files
    from nmt.orchestrator.models.evaluation_table import evaluation_table

    other = None if against is None else _predictor(against, tracking, device)
    found = evaluate_files(_predictor(model, tracking, device), data, other, where)
    document = {"model": model, "against": against, "tasks": [task.to_dict() for task in found]}
    _print(document, json, lambda out: out.print(evaluation_table(found)))


def _predictor(model: str, tracking: str | None, device: str) -> Predictor:
    from nmt.orchestrator.experiment.model_address import read_model
    from nmt.trainers.export.predictor import Predictor

    try:
        return Predictor(read_model(model, tracking), device)
    except ValueError as error:
        raise RequestError(str(error)) from error
    except RuntimeError as error:
        raise RequestError(f"--device {device}: {str(error).splitlines()[0]}") from error


def _save_mlflow(model: TrainedModel, folder: Path) -> None:
    import mlflow.pyfunc

    from nmt.orchestrator.models.mlflow_model import arguments_of

    with arguments_of(model) as arguments:
        mlflow.pyfunc.save_model(path=str(folder), **arguments)


def _save_program(model: TrainedModel, folder: Path) -> None:
    import torch

    from nmt.trainers.export.program import export_program

    try:
        torch.export.save(export_program(model), folder / "program.pt2")
    except ValueError as error:
        raise RunError(str(error)) from error


def _print(document: dict[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    if as_json:
        print(json_.dumps(document, indent=1, allow_nan=False, default=str))
    else:
        show(Console())
