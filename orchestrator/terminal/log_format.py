"""The option ``--log-format``: what standard error is written as."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from nmt.orchestrator.terminal.current_output import current_output, use_log_format
from nmt.orchestrator.terminal.standard_error import VARIABLE


class LogFormat(StrEnum):
    """What standard error is written as."""

    TEXT = "text"
    JSON = "json"


def _of_command(context: typer.Context, log_format: LogFormat) -> LogFormat:
    """Set the format before anything is reported."""
    use_log_format(log_format)
    current_output().about(verb=context.info_name)
    return log_format


def _of_job(log_format: LogFormat | None) -> LogFormat | None:
    """Write this command's own messages in the format of the job's log."""
    if log_format is not None:
        use_log_format(log_format)
    return log_format


CommandLogFormat = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar=VARIABLE,
        is_eager=True,
        callback=_of_command,
        help="Standard error as text for people, or as JSON lines for log collectors.",
    ),
]
JobLogFormat = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        envvar=VARIABLE,
        is_eager=True,
        callback=_of_job,
        help="The job's log, and messages here, as text or JSON lines; by default as the cluster says.",
    ),
]
