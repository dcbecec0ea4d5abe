"""The commands ``nmt submit …``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nmt.orchestrator.terminal.command_line import (
    INTERRUPTED,
    File,
    Json,
    Limit,
    Normalised,
    Points,
    Set,
    print_result,
)
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.terminal.log_format import JobLogFormat, LogFormat

if TYPE_CHECKING:
    from nmt.orchestrator.submit.job_client import JobClient

app = typer.Typer(
    name="submit",
    help="A verb as a Ray job on a cluster: run, sweep, grid, compare; status, logs, stop.",
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as submit and status print it.")]
Address = Annotated[str | None, typer.Option(help="The cluster's dashboard: http://HOST:8265; else RAY_ADDRESS.")]
Include = Annotated[list[str], typer.Option("--include", metavar="PATH", help="Send this file or folder too.")]
Install = Annotated[bool, typer.Option("--install", help="Have Ray install the pinned packages on every node.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Submit without following the log.")]


@app.command()
def run(
    file: File,
    address: Address = None,
    set: Set = [],  # noqa: B006
    include: Include = [],  # noqa: B006
    install: Install = False,
    detach: Detach = False,
    json: Json = False,
    log_format: JobLogFormat = None,
) -> None:
    """Run one chain on the cluster."""
    _submit("run", file, address, set, [], include, install, detach, json, log_format)


@app.command()
def sweep(
    file: File,
    address: Address = None,
    set: Set = [],  # noqa: B006
    greedy: Annotated[bool, typer.Option("--greedy", help="Settle one stage after the other.")] = False,
    include: Include = [],  # noqa: B006
    install: Install = False,
    detach: Detach = False,
    json: Json = False,
    log_format: JobLogFormat = None,
) -> None:
    """Try pairs of the two learning rates on the cluster."""
    _submit("sweep", file, address, set, ["--greedy"] if greedy else [], include, install, detach, json, log_format)


@app.command()
def grid(
    file: File,
    address: Address = None,
    set: Set = [],  # noqa: B006
    points: Points = None,
    normalised: Normalised = False,
    limit: Limit = None,
    include: Include = [],  # noqa: B006
    install: Install = False,
    detach: Detach = False,
    json: Json = False,
    log_format: JobLogFormat = None,
) -> None:
    """Train the p^m grid of loss weights on the cluster."""
    options = _grid_options(points, normalised, limit)
    _submit("grid", file, address, set, options, include, install, detach, json, log_format)


@app.command()
def compare(
    file: File,
    address: Address = None,
    set: Set = [],  # noqa: B006
    points: Points = None,
    normalised: Normalised = False,
    limit: Limit = None,
    methods: Annotated[str | None, typer.Option(help="Further methods, such as famo,nmt+famo,torchjd:UPGrad.")] = None,
    include: Include = [],  # noqa: B006
    install: Install = False,
    detach: Detach = False,
    json: Json = False,
    log_format: JobLogFormat = None,
) -> None:
    """Compare NMT's sweep with the grid and with named methods on the cluster."""
    options = [*_grid_options(points, normalised, limit), *(["--methods", methods] if methods is not None else [])]
    _submit("compare", file, address, set, options, include, install, detach, json, log_format)


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="One job; by default all of this project.")] = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Show jobs: their status, and the link to their runs in MLflow."""
    from nmt.orchestrator.submit.job import job_to_dict, project_jobs
    from nmt.orchestrator.submit.job_client import ask

    client, where = _connect(address)
    infos = project_jobs(client, where) if job is None else [ask(lambda: client.get_job_info(job), where)]
    found = [job_to_dict(info) for info in infos]

    def show(out: Console) -> None:
        table = Table("id", "status", "MLflow", "message")
        for one in found:
            table.add_row(*(escape(str(one[key] or "")) for key in ("id", "status", "mlflow", "message")))
        out.print(table if found else f"no jobs of this project on {where}")

    print_result({"address": where, "jobs": found}, json, show)


@app.command()
def logs(
    job: Id,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log to the job's end.")] = False,
) -> None:
    """Print a job's log; with --follow until it ends, and exit with its status."""
    from nmt.orchestrator.submit.job_client import ask

    client, where = _connect(address)
    if follow:
        raise typer.Exit(_follow(client, job, where, _to(sys.stdout))[0])
    _to(sys.stdout)(ask(lambda: client.get_job_logs(job), where))


@app.command()
def stop(job: Id, address: Address = None, json: Json = False) -> None:
    """Stop a job; finished stages are kept, and the same submission resumes from them."""
    from nmt.orchestrator.submit.stopping import stop as stop_job

    client, where = _connect(address)
    ended, was_running = stop_job(client, job, where)
    state = str(ended["status"]).lower()
    line = f"{job} is {state}" if was_running else f"{job} had already ended: {state}"
    print_result(
        {"address": where, **ended, "was_running": was_running}, json, lambda out: out.print(line, soft_wrap=True)
    )


def _submit(
    verb: str,
    file: str,
    address: str | None,
    overrides: list[str],
    options: list[str],
    include: list[str],
    install: bool,
    detach: bool,
    as_json: bool,
    log_format: LogFormat | None,
) -> None:
    from nmt.orchestrator.submit.job import job_to_dict, submit
    from nmt.orchestrator.submit.job_client import ask, connect, dashboard_address
    from nmt.orchestrator.submit.preparation import prepare_job

    where = dashboard_address(address)
    client = connect(where)
    job = prepare_job(client, where, verb, file, overrides, options, include, install, log_format)
    submitted = submit(client, job, where)
    job_id = submitted.job_id
    output = current_output()
    output.about(verb=f"submit {verb}", job=job_id)
    how = "submitted" if submitted.is_new else "was submitted before and still runs; attached to it"
    output.say(f"{job_id}: {how}", "job_submitted", new=submitted.is_new)
    output.say(f"MLflow: {job.metadata['nmt.mlflow']}")
    if detach:
        output.say(_how_to_attach(job_id, where))
        info = ask(lambda: client.get_job_info(job_id), where)
        print_result(
            {"address": where, **job_to_dict(info), "new": submitted.is_new}, as_json, lambda out: out.print(job_id)
        )
        return
    code, info, link = _follow(client, job_id, where, _to(sys.stderr if as_json else sys.stdout))
    found = {"address": where, **job_to_dict(info), "new": submitted.is_new, "exit_status": code}
    print_result({**found, "mlflow": link or found["mlflow"]}, as_json, lambda out: None)
    raise typer.Exit(code)


def _follow(client: JobClient, job_id: str, where: str, write: Callable[[str], None]) -> tuple[int, Any, str | None]:
    """Follow a job to its end. Return its exit status, Ray's details, and the link in its log."""
    from nmt.orchestrator.submit.follow import follow
    from nmt.orchestrator.submit.job import exit_status, status_text
    from nmt.orchestrator.submit.link import LinkReader

    reader = LinkReader(write)
    try:
        info = follow(client, job_id, reader.write, where)
    except KeyboardInterrupt:
        current_output().say(f"\ndetached; the job continues\n{_how_to_attach(job_id, where)}", "detached")
        raise typer.Exit(INTERRUPTED) from None
    code = exit_status(info)
    status = status_text(info).lower()
    line = f"{job_id}: {status}" + (f", exit status {code}" if code else "")
    current_output().say(line, "job_ended", "error" if code else "info", job=job_id, status=status, exit_status=code)
    if code and info.driver_exit_code is None and info.message:
        current_output().say(info.message)
    return code, info, reader.link


def _how_to_attach(job_id: str, where: str) -> str:
    to = shlex.quote(where)
    return (
        f"attach: nmt submit logs {job_id} --follow --address {to}\n"
        f"status: nmt submit status {job_id} --address {to}\n"
        f"stop:   nmt submit stop {job_id} --address {to}"
    )


def _connect(address: str | None) -> tuple[JobClient, str]:
    from nmt.orchestrator.submit.job_client import connect, dashboard_address

    where = dashboard_address(address)
    return connect(where), where


def _grid_options(points: int | None, normalised: bool, limit: int | None) -> list[str]:
    options = ["--points", str(points)] if points is not None else []
    options += ["--normalised"] if normalised else []
    return options + (["--limit", str(limit)] if limit is not None else [])


def _to(stream: Any) -> Callable[[str], None]:
    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write
