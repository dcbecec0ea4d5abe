"""The link to a job's runs, which the job itself tells in its log."""

from __future__ import annotations

import json
from collections.abc import Callable

LINK = "MLflow experiment: "
"""What the line with the link begins with."""


class LinkReader:
    """Passes a log on and remembers the link in it.

    Args:
        write: Called with each piece of the log.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._line = ""
        self.link: str | None = None
        """The link, once it was told."""

    def write(self, piece: str) -> None:
        """Take a piece of the log, which may end within a line."""
        self._write(piece)
        *lines, self._line = (self._line + piece).split("\n")
        for line in lines:
            said = _said(line)
            if said.startswith(LINK):
                self.link = said.removeprefix(LINK).strip()


def _said(line: str) -> str:
    """What a line says, be it text or JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line
