"""A running ``ray start --block``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.drill.errors import DrillError
from tests.drill.family import Family

_STARTED = "Ray runtime started"
_STARTED_WITHIN = 90.0


class RayStart:
    """A node of Ray, started as an administrator would start it.

    Args:
        options: Options of ``ray start``.
        environment: Environment variables.
        log: File of its output.
        within: Start of the command line, for a command that runs it.

    Raises:
        DrillError: It did not start.
    """

    def __init__(
        self, options: Sequence[str], environment: Mapping[str, str], log: Path, within: Sequence[str] = ()
    ) -> None:
        command = [*within, str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        self._family = Family(self.process.pid)
        end = time.monotonic() + _STARTED_WITHIN
        while _STARTED not in (output := log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > end:
                self.end()
                raise DrillError(f"a node of Ray did not start:\n{output[-2000:]}")
            time.sleep(0.1)

    def end(self) -> None:
        """End it and all its descendants; kill it after 30 seconds."""
        self._family.look()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()
        self._family.end(0.0)
