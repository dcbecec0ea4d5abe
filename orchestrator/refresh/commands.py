"""The command ``nmt refresh``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.console import Console

from nmt.orchestrator.terminal.command_line import Address, File, Json, Set, Verbose, interruptible, print_result
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.terminal.log_format import CommandLogFormat, LogFormat

app = typer.Typer()


@app.command()
def refresh(
    file: File,
    set: Set = [],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="Register the day's model under this name.")] = None,
    alias: Annotated[str | None, typer.Option(help="Alias that shall point to it; its holder is protected.")] = None,
    json: Json = False,
    address: Address = None,
    verbose: Verbose = False,
    log_format: CommandLogFormat = LogFormat.TEXT,
) -> None:
    """Train on today's data from the model of the day before; a day that is finished is not trained again."""
    from nmt.orchestrator.experiment.file import load
    from nmt.orchestrator.refresh.refresh import refresh_experiment
    from nmt.orchestrator.summary.table import chain_table

    experiment, output = load(file, set), current_output()
    output.about(experiment=experiment.name)
    later = shlex.join(["nmt", "sync", file, *(word for override in set for word in ("--set", override))])
    with interruptible():
        done = refresh_experiment(
            experiment, output, name=name, alias=alias, address=address, verbose=verbose, sync_command=later
        )

    def show(out: Console) -> None:
        out.print(chain_table(done.chain.records))
        out.print(done.sentence, soft_wrap=True, highlight=False)
        if done.registered is not None:
            out.print(done.registered.uri + (f", now {alias}" if alias else ""), soft_wrap=True, highlight=False)

    print_result(done.to_dict(), json, show)
