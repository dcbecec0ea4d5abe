"""The link to a job's MLflow runs, which the job writes to its log."""

from __future__ import annotations

import json
from collections.abc import Callable

LINK = "MLflow experiment: "
"""Prefix of the line with the link."""


class LinkReader:
    """Forwards a log and remembers the link in it.

    Args:
        write: Called with each piece of the log.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._line = ""
        self.link: str | None = None
        """The link, once it has appeared."""

    def write(self, piece: str) -> None:
        """Write a piece of the log, which may end within a line."""
        self._write(piece)
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            message = _message(line)
            if message.startswith(LINK):
                self.link = message.removeprefix(LINK).strip()


def _message(line: str) -> str:
    """Return the message of a log line, which is text or JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line
