"""The command ``nmt``."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from nmt.orchestrator.cli.group_output import show_group, show_links
from nmt.orchestrator.data.commands import app as data_commands
from nmt.orchestrator.errors import RequestError, RunError
from nmt.orchestrator.models.commands import app as model_commands
from nmt.orchestrator.refresh.commands import app as refresh_command
from nmt.orchestrator.submit.commands import app as submit_commands
from nmt.orchestrator.terminal.command_line import (
    FAILED,
    TERMINATED,
    WRONG_REQUEST,
    Address,
    File,
    Fresh,
    Json,
    Limit,
    Normalised,
    Points,
    Set,
    Verbose,
    interruptible,
    print_result,
)
from nmt.orchestrator.terminal.current_output import current_output, use_log_format
from nmt.orchestrator.terminal.log_format import CommandLogFormat, LogFormat
from nmt.orchestrator.terminal.standard_error import VARIABLE
from nmt.orchestrator.terminal.termination import heed_sigterm, was_terminated

if TYPE_CHECKING:
    from nmt.orchestrator.experiment.prepared import PreparedExperiment
    from nmt.orchestrator.experiment.sections import Experiment

app = typer.Typer(
    name="nmt",
    help="No More Tuning: prioritised multi-task learning, solved in order of priority on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands)
app.add_typer(submit_commands)
app.add_typer(model_commands)
app.add_typer(refresh_command)


@app.command()
def plan(file: File, set: Set = [], json: Json = False) -> None:  # noqa: B006
    """Show what would run and what it would cost at most. Trains nothing."""
    from nmt.orchestrator.verbs.plan import plan_chain, plan_table

    planned = plan_chain(_prepare(file, set))
    print_result(planned.to_dict(), json, lambda out: out.print(plan_table(planned)))


@app.command()
def run(
    file: File,
    set: Set = [],  # noqa: B006
    fresh: Fresh = False,
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Run one chain on Ray Train: every task in order of priority."""
    from nmt.orchestrator.summary.table import chain_table
    from nmt.orchestrator.verbs.run import run_experiment

    prepared = _prepare(file, set, fresh=fresh)
    with interruptible():
        outcome = run_experiment(
            prepared, current_output(), address=address, verbose=verbose, sync_command=_command("sync", file, set)
        )

    def show(out: Console) -> None:
        out.print(chain_table(outcome.records))
        cost = outcome.cost
        out.print(
            f"{cost.stages} stages trained, {cost.stages_reused} reused; {cost.samples:,} samples in "
            f"{cost.worker_seconds:.1f} worker-seconds"
        )
        if outcome.run_id is not None:
            out.print(f"MLflow run {outcome.run_id}: {outcome.link or f'nmt ui {file}'}", soft_wrap=True)
        if outcome.model is not None:
            out.print(f"model: {outcome.model}", soft_wrap=True)

    print_result(outcome.to_dict(), json, show)


@app.command()
def sweep(
    file: File,
    set: Set = [],  # noqa: B006
    greedy: Annotated[bool, typer.Option("--greedy", help="Settle one stage after the other.")] = False,
    tasks: Annotated[
        str | None, typer.Option(help="Sweep the first 2, then 4, … tasks, and plot the cost: 2,4,8,16.")
    ] = None,
    fresh: Fresh = False,
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Try pairs of the two learning rates on Ray Tune; stages that trials share are trained once."""
    from nmt.orchestrator.verbs.groups import train_sweep

    prepared = _prepare(file, [*set, *(["sweep.greedy=true"] if greedy else [])], _trial_check(address), fresh=fresh)
    if tasks is not None:
        _run_cost_curve(prepared, tasks, file, json, address, verbose)
        return
    with interruptible():
        outcome = train_sweep(prepared, address, verbose)
    show_group(outcome, prepared, file, json)


@app.command()
def grid(
    file: File,
    set: Set = [],  # noqa: B006
    points: Points = None,
    normalised: Normalised = False,
    limit: Limit = None,
    fresh: Fresh = False,
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Train the p^m grid of loss weights on Ray Tune, with equal weights and single-task models as baselines."""
    from nmt.orchestrator.verbs.groups import train_grid

    prepared = _prepare(file, [*set, *_grid_options(points, normalised, limit)], _trial_check(address), fresh=fresh)
    with interruptible():
        outcome = train_grid(prepared, address, verbose)
    show_group(outcome, prepared, file, json)


@app.command()
def compare(
    file: File,
    set: Set = [],  # noqa: B006
    points: Points = None,
    normalised: Normalised = False,
    limit: Limit = None,
    methods: Annotated[str | None, typer.Option(help="Further methods, such as famo,nmt+famo,torchjd:UPGrad.")] = None,
    fresh: Fresh = False,
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Compare NMT's sweep with the grid of loss weights and with named methods, in MLflow and on one page."""
    from nmt.orchestrator.comparison.files import PAGE
    from nmt.orchestrator.comparison.table import comparison_table
    from nmt.orchestrator.verbs.groups import train_comparison

    named = [f"compare.methods=[{methods}]"] if methods is not None else []
    prepared = _prepare(
        file, [*set, *_grid_options(points, normalised, limit), *named], _trial_check(address), fresh=fresh
    )
    with interruptible():
        outcome = train_comparison(prepared, address, verbose)

    def show(out: Console) -> None:
        out.print(comparison_table(outcome.comparison))
        out.print(f"page: {outcome.folder}/{PAGE}", soft_wrap=True)
        show_links(out, outcome.groups[2], file)

    print_result(outcome.to_dict(), json, show)
    for group in outcome.groups:
        group.check()


@app.command()
def reproduce(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="table1 … table4, figure1 … figure3.")],
    source: Annotated[
        str | None, typer.Option(help="Data set; by default the paper's, or one that needs no download.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data are: a prepared folder, or the source's file.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds.")] = 3,
    preset: Annotated[
        str | None, typer.Option(help="Named sizes; 'small' by default where another data set stands in.")
    ] = None,
    set: Set = [],  # noqa: B006
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Train an experiment of the paper, and print its numbers beside ours."""
    from nmt.orchestrator.reproduce.command import draw_landscape
    from nmt.orchestrator.reproduce.command import reproduce as run_one

    if what == "figure1":
        path = draw_landscape("nmt-runs/figure1")
        print_result({"figure": str(path)}, json, lambda out: out.print(f"figure: {path}", soft_wrap=True))
        return
    with interruptible():
        outcome = run_one(what, source, data, seeds, preset, set, current_output(), address, verbose)

    def show(out: Console) -> None:
        out.print(outcome.table.terminal())
        out.print(f"files: {outcome.folder}", soft_wrap=True)
        show_links(out, outcome.group, "")

    print_result(outcome.to_dict(), json, show)
    outcome.group.check()


@app.command()
def sync(
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="Experiment file; its storage.")] = None,
    set: Set = [],  # noqa: B006
    storage: Annotated[str | None, typer.Option(help="Storage, instead of the file's.")] = None,
    tracking: Annotated[
        str | None, typer.Option(help="Tracking URI, instead of each run's own; an empty store gets everything.")
    ] = None,
    json: Json = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Log what the tracking store missed while runs went on. Trains nothing."""
    from nmt.orchestrator.verbs.sync import sync_storage, sync_table

    synced = sync_storage(file, set, storage, tracking)
    current_output().note("sync has ended", "sync_finished", complete=synced.complete, chains=len(synced.chains))
    print_result(synced.to_dict(), json, lambda out: out.print(sync_table(synced)))
    if not synced.complete:
        raise typer.Exit(FAILED)


@app.command()
def ui(
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="Experiment file; its tracking store.")] = None,
    tracking: Annotated[str | None, typer.Option(help="Tracking URI, instead of the file's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
) -> None:
    """Open MLflow's user interface on this project's tracking store."""
    from nmt.orchestrator.experiment.file import load
    from nmt.orchestrator.verbs.ui import serve

    experiment = load(file) if file else None
    uri = tracking or (experiment.tracking if experiment else f"sqlite:///{os.path.abspath('mlflow.db')}")
    serve(uri, host, port, current_output().say, experiment.name if experiment else None)


@app.command()
def schema() -> None:
    """Print the JSON Schema of an experiment file, with which an editor completes and checks it."""
    from nmt.orchestrator.data.sources import SOURCES
    from nmt.orchestrator.experiment.json_schema import experiment_schema

    found = experiment_schema([f"experiments.data.{name}" for name in SOURCES])
    print(json.dumps(found, indent=1, ensure_ascii=False))


@app.command()
def doctor(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Experiment file; with --address its storage, data and tracking."),
    ] = None,
    json: Json = False,
    address: Annotated[
        str | None, typer.Option(help="Check a cluster instead: its dashboard, http://HOST:8265.")
    ] = None,
) -> None:
    """Check what works here, or on a cluster: packages, devices, process group, tracking; nodes and storage."""
    from dataclasses import asdict

    if address is None:
        from nmt.orchestrator.verbs.doctor import examine

        findings = examine()
    else:
        from nmt.orchestrator.submit.cluster_doctor import examine_cluster

        findings = examine_cluster(address, file)

    def show(out: Console) -> None:
        for finding in findings:
            mark = "[green]✓[/]" if finding.works else "[red]✗[/]"
            out.print(f"{mark} {finding.what:<28} {escape(finding.detail)}", soft_wrap=True)

    print_result({"findings": [asdict(finding) for finding in findings]}, json, show)
    if not all(finding.works for finding in findings):
        raise typer.Exit(FAILED)


def main() -> None:
    """Run the command: exit status 0 done, 1 the run failed, 2 wrong request, 130 interrupted, 143 terminated."""
    heed_sigterm()
    sys.path.insert(0, os.getcwd())  # users keep their own models, losses and sources beside the experiment
    if os.environ.get(VARIABLE) == LogFormat.JSON:  # also for commands without --log-format, and for invalid ones
        use_log_format(LogFormat.JSON)
        app.rich_markup_mode = None  # no frames around error messages
    try:
        app()  # ends in SystemExit, with status 2 for an invalid command line
    except SystemExit as ended:
        if was_terminated() and ended.code:
            sys.exit(TERMINATED)
        raise
    except RequestError as error:
        current_output().say(f"error: {error}", "request_refused", "error", exit_status=WRONG_REQUEST)
        sys.exit(WRONG_REQUEST)
    except RunError as error:
        kept = "finished stages are kept; the same command resumes from them"
        current_output().say(f"failed: {error}\n{kept}", "run_failed", "error", exit_status=FAILED)
        sys.exit(FAILED)


def _run_cost_curve(
    prepared: PreparedExperiment, tasks: str, file: str, as_json: bool, address: str | None, verbose: bool
) -> None:
    """Run a sweep for each number of tasks."""
    from nmt.orchestrator.verbs.cost_curve import cost_curve_table, parse_numbers
    from nmt.orchestrator.verbs.groups import train_cost_curve

    numbers = parse_numbers(tasks, prepared)
    with interruptible():
        outcome = train_cost_curve(prepared, numbers, address, verbose)

    def show(out: Console) -> None:
        out.print(cost_curve_table(outcome))
        out.print(f"files: {outcome.folder}", soft_wrap=True)
        show_links(out, outcome.group, file)

    print_result(outcome.to_dict(), as_json, show)
    for group in outcome.sweeps:
        group.check()


def _prepare(
    file: str, overrides: list[str], check: Callable[[Experiment], None] | None = None, fresh: bool = False
) -> PreparedExperiment:
    from nmt.orchestrator.experiment.prepared import prepare

    prepared = prepare(file, overrides, current_output().say, check)
    current_output().about(experiment=prepared.experiment.name)
    return prepared.started_afresh() if fresh else prepared


def _trial_check(address: str | None) -> Callable[[Experiment], None]:
    """Return a check that refuses trials that this machine could never hold."""
    from nmt.orchestrator.cluster.tuning.placement import check_trial

    return lambda experiment: check_trial(experiment, address)


def _grid_options(points: int | None, normalised: bool, limit: int | None) -> list[str]:
    options = [f"grid.points={points}"] if points is not None else []
    options += ["grid.normalised=true"] if normalised else []
    return options + ([f"grid.limit={limit}"] if limit is not None else [])


def _command(verb: str, file: str, overrides: list[str]) -> str:
    """Return the command line that a user types."""
    return shlex.join(["nmt", verb, file, *(word for override in overrides for word in ("--set", override))])
