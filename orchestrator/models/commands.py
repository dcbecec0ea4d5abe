"""The commands of trained models: ``nmt export``, ``register``, ``predict`` and ``evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from nmt.orchestrator.terminal.command_line import Address, File, Json, Set, Verbose, interruptible, print_result
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.terminal.log_format import CommandLogFormat, LogFormat

app = typer.Typer()

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
    from nmt.orchestrator.models.export import export_model

    done = export_model(prepare(file, set, current_output().say), folder, mlflow=mlflow, program=program)
    words = ", ".join(f"{task} ({answer})" for task, answer in done.tasks.items())
    print_result(done.to_dict(), json, lambda out: out.print(f"{folder}: {words}", soft_wrap=True, highlight=False))


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
    from nmt.orchestrator.models.registration import register_chain

    prepared = prepare(file, set, current_output().say)
    made = register_chain(prepared, name, alias, although_broken=although_broken, although_worse=although_worse)
    also = f", now {alias}" if alias else ""
    line = f"{made.uri}{also}: run {made.run_id}" + (f". {made.live['sentence']}" if made.live is not None else "")
    print_result(made.to_dict(), json, lambda out: out.print(line, soft_wrap=True, highlight=False))


@app.command()
def predict(
    model: Model,
    data: DataFiles,
    out: Annotated[str, typer.Argument(metavar="OUT", help="File to write, .parquet or .csv.")],
    keep: Annotated[str | None, typer.Option(help="Columns of DATA to write too: user_id,video_id.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the tasks.")] = "",
    workers: Annotated[int | None, typer.Option(help="Processes; several for 1 GiB of DATA or more.")] = None,
    tracking: Tracking = None,
    device: Device = "cpu",
    address: Address = None,
    json: Json = False,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Predict raw rows: one row out per row in, in their order; rows that cannot be predicted say why."""
    from nmt.orchestrator.models.loading import load_predictor
    from nmt.orchestrator.models.predict import predict_files

    predictor = load_predictor(model, tracking, device)
    kept = [name.strip() for name in keep.split(",") if name.strip()] if keep else []
    with interruptible("nothing was written"):
        done = predict_files(
            predictor, data, out, keep=kept, prefix=prefix, workers=workers, address=address, verbose=verbose
        )
    for problem in done.problems:
        current_output().say(f"row {problem['row']}: {problem['column']}: {problem['text']}", "bad_row", "warning")
    bad = f", of which {done.bad_rows:,} have no prediction, see the column problem" if done.bad_rows else ""
    line = f"{out}: {done.rows:,} rows{bad}"
    print_result(done.to_dict(), json, lambda console: console.print(line, soft_wrap=True, highlight=False))


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
    from nmt.orchestrator.models.evaluate import Evaluation, evaluate_files
    from nmt.orchestrator.models.evaluation_table import evaluation_table
    from nmt.orchestrator.models.loading import load_predictor

    other = None if against is None else load_predictor(against, tracking, device)
    found = evaluate_files(load_predictor(model, tracking, device), data, other, where)
    document = Evaluation(model, against, tuple(found)).to_dict()
    print_result(document, json, lambda out: out.print(evaluation_table(found)))
