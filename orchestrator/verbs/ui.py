"""The verb ``ui``: MLflow's own user interface on a project's tracking store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from orchestrator.errors import RequestError


def serve(tracking: str, host: str, port: int, say: Callable[[str], None]) -> None:
    """Become MLflow's server on the store; a store that is a server already is only pointed at.

    Args:
        tracking: Tracking URI.
        host: Address to listen on; loopback unless the user says otherwise.
        port: Port to listen on.
        say: Called with a line for the user.

    Raises:
        RequestError: The store is not one that can be served, or the port is taken.
    """
    if tracking.startswith("http"):
        say(f"{tracking} is an MLflow server already: open it in a browser")
        return
    if "://" not in tracking:
        raise RequestError(f"tracking {tracking!r} is no URI; give one such as sqlite:///mlflow.db")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(f"cannot listen on {host}:{port} ({error.strerror}); --port chooses another") from error
    say(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The server takes the place of this process, so that a signal to it reaches the server and nothing is left behind.
    os.execve(sys.executable, command, {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
