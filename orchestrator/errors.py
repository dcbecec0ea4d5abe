"""The two ways in which a command ends badly."""

from __future__ import annotations


class RequestError(Exception):
    """The request was wrong: nothing was started and nothing is lost. Exit status 2."""


class RunError(Exception):
    """The run failed after it was started; finished stages are kept. Exit status 1."""
