"""The option ``--log-format``: what standard error is written as."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.terminal import current_output
from orchestrator.terminal.json_log import VARIABLE


class LogFormat(StrEnum):
    """What standard error is written as."""

    TEXT = "text"
    JSON = "json"


def choose(log_format: LogFormat) -> None:
    """Write standard error so from now on; chosen again, nothing changes."""
    if log_format == LogFormat.JSON:
        current_output.use_json()
    else:
        current_output.use_text()


def _of_command(context: typer.Context, log_format: LogFormat) -> LogFormat:
    """Choose the format before anything is told, and say of every line what it is about."""
    choose(log_format)
    current_output.current_output().about(verb=context.info_name)
    return log_format


def _of_job(log_format: LogFormat | None) -> LogFormat | None:
    """Messages of the command are written as the job's log is."""
    if log_format is not None:
        choose(log_format)
    return log_format


_NAME = "--log-format"

OfCommand = Annotated[
    LogFormat,
    typer.Option(
        _NAME,
        envvar=VARIABLE,
        is_eager=True,
        callback=_of_command,
        help="Standard error as text for people, or as JSON lines for log collectors.",
    ),
]
OfJob = Annotated[
    LogFormat | None,
    typer.Option(
        _NAME,
        envvar=VARIABLE,
        is_eager=True,
        callback=_of_job,
        help="The job's log, and messages here, as text or JSON lines; by default as the cluster says.",
    ),
]
