"""``ray start --block`` while it runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.drill.errors import DrillError
from tests.drill.family import Family

_UP = "Ray runtime started"
_UP_WITHIN = 90.0


class RayStart:
    """A node of Ray, started as an administrator would start it.

    Args:
        options: Those of ``ray start``.
        environment: Environment variables.
        log: File for what it says.
        within: Command in which it is started.

    Raises:
        DrillError: It did not come up.
    """

    def __init__(
        self, options: Sequence[str], environment: Mapping[str, str], log: Path, within: Sequence[str] = ()
    ) -> None:
        command = [*within, str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        self._family = Family(self.process.pid)
        end = time.monotonic() + _UP_WITHIN
        while _UP not in (said := log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > end:
                self.end()
                raise DrillError(f"a node of Ray did not start:\n{said[-2000:]}")
            time.sleep(0.1)

    def end(self) -> None:
        """End it, by force in the end, with all that it started."""
        self._family.look()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()
        self._family.end(0.0)
