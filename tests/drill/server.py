"""An MLflow server that can be stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

from tests.drill.command import PATIENCE
from tests.drill.errors import DrillError
from tests.drill.trial import Trial


class Server:
    """An MLflow server on the loopback address.

    Args:
        trial: The trial whose tracking store it serves.
    """

    def __init__(self, trial: Trial) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._trial = trial
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        self._command += ["--backend-store-uri", f"sqlite:///{trial.database}", "--workers", "1"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            DrillError: It does not answer.
        """
        with (self._trial.folder / "server.txt").open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._trial.folder,
                env=self._trial.site.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            if time.monotonic() > end or self._process.poll() is not None:
                raise DrillError("the tracking server did not start")
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it and all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
