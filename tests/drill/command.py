"""A running command ``nmt`` and its output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.drill.errors import DrillError
from tests.drill.family import Family

PATIENCE = 600.0
"""Longest wait for the end of a command or an event of its run, in seconds."""


class Command:
    """A running command ``nmt``, started as a user would start it.

    Args:
        arguments: Its arguments.
        folder: Its working directory, also for its output.
        number: Number of the command, in the names of its output files.
        environment: Environment variables.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, number: int, environment: Mapping[str, str]) -> None:
        self._out, self._err = folder / f"{number}.out.json", folder / f"{number}.err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nmt.orchestrator.cli", *arguments],
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.family = Family(self.process.pid)

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return self._err.read_text(errors="replace")

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            DrillError: It does not end in time.
        """
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.family.look()
            if time.monotonic() > end:
                raise DrillError(f"the command did not end within {PATIENCE:.0f} s; its log ends:\n{self.said[-2000:]}")
            time.sleep(0.5)

    def document(self) -> tuple[dict[str, Any], str]:
        """Return the JSON document on standard output, and the text before it, which should be empty.

        Raises:
            DrillError: The command failed, or there is no document.
        """
        if self.process.returncode != 0:
            raise DrillError(f"exit status {self.process.returncode}; its log ends:\n{self.said[-2000:]}")
        text = self._out.read_text(errors="replace")
        begin = re.search(r"^\{", text, re.MULTILINE)
        if begin is None:
            raise DrillError(f"standard output holds no JSON document, but: {text[:500]}")
        return json.loads(text[begin.start() :]), text[: begin.start()]

    def kill(self) -> None:
        """Kill it and all its descendants."""
        self.family.look()
        self.process.kill()
        self.process.wait()
        self.family.end(0.0)
