"""The commands ``nmt data …``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.yaml_reader import read_yaml
from nmt.orchestrator.terminal.command_line import INTERRUPTED, WRONG_REQUEST, Json, print_result

app = typer.Typer(name="data", help="Data sets: list, prepare, describe.", no_args_is_help=True)

console = Console(stderr=True)
"""Progress and messages; standard output is for results."""


@app.command("list")
def list_sources(json: Json = False) -> None:
    """List the data sources that come with the project."""
    from nmt.orchestrator.data.sources import SOURCES, find

    found = [{"name": name, "input": takes, "about": find(name).about} for name, takes in SOURCES.items()]

    def show(out: Console) -> None:
        table = Table("source", "input", "description")
        for source in found:
            table.add_row(*(escape(cell) for cell in source.values()))
        out.print(table)

    print_result({"sources": found}, json, show)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name of nmt data list, or package.module.")],
    input: Annotated[str, typer.Argument(metavar="INPUT", help="File or folder; - for a source without input.")],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="The folder to write; must not exist.")],
    option: Annotated[
        list[str], typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the source.")
    ] = [],  # noqa: B006
    ray: Annotated[
        bool | None, typer.Option("--ray/--no-ray", help="Use Ray; by default for 1 GiB of input or more.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; every node must have access to INPUT and OUTPUT.")
    ] = None,
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's own log too.")] = False,
) -> None:
    """Prepare official files: write a folder of sharded Parquet and a vocabulary, complete or not at all."""
    from nmt.orchestrator.data.prepare import prepare as prepare_
    from nmt.orchestrator.data.sources import find

    try:
        prepared = prepare_(
            find(source),
            None if input == "-" else input,
            output,
            dict(_parse_option(text) for text in option),
            console,
            parallel=ray,
            address=address,
            verbose=verbose,
        )
    except KeyboardInterrupt:
        console.print("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    report = prepared.report
    for damage in report.first if report is not None else []:
        console.print(escape(f"damaged: {damage.path}, line {damage.line}: {damage.reason}"), soft_wrap=True)

    def show(out: Console) -> None:
        rows = ", ".join(f"{count:,} {split}" for split, count in prepared.schema.rows.items())
        out.print(f"{escape(prepared.folder)}: {rows}", soft_wrap=True, highlight=False)
        if report is not None:
            out.print(
                f"{report.lines:,} lines in {prepared.seconds:.1f} s, {report.damaged:,} damaged, "
                f"{report.left_out:,} rows left out",
                highlight=False,
            )

    print_result(prepared.to_dict(), json, show)


@app.command()
def describe(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A prepared folder, or its URI.")], json: Json = False
) -> None:
    """Describe rows, features, label rates and conflicts between tasks; exit status 2 if training would fail."""
    from nmt.orchestrator.data.describe import describe as describe_
    from nmt.orchestrator.data.describe import print_description

    found = describe_(folder)
    print_result(found.to_dict(), json, lambda out: print_description(found, out))
    for problem in found.problems:
        console.print(f"[red]cannot be trained on:[/] {escape(problem)}", soft_wrap=True, highlight=False)
    if found.problems:
        raise typer.Exit(WRONG_REQUEST)


def _parse_option(text: str) -> tuple[str, Any]:
    """Parse ``key=value``, with the value as YAML."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise RequestError(f"--option {text!r} is not of the form KEY=VALUE")
    try:
        return key, read_yaml(value).content
    except ValueError as error:
        raise RequestError(f"--option {text!r}: the value is not valid YAML ({error})") from error
