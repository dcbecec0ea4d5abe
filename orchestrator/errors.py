"""How a command fails, and how an error reads in one line."""

from __future__ import annotations


class RequestError(Exception):
    """The request was wrong: nothing was started and nothing is lost. Exit status 2."""


class RunError(Exception):
    """The run failed after it was started; finished stages are kept. Exit status 1."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type where it has no message."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, which is where a remote traceback names the cause."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip(" .\t")] or [type(error).__name__]
