"""The verb ``ui``: MLflow's user interface on a project's tracking store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from nmt.orchestrator.errors import RequestError


def serve(tracking: str, host: str, port: int, say: Callable[[str], None]) -> None:
    """Replace this process by MLflow's server on the store; where the store is a server, only show its address.

    Args:
        tracking: Tracking URI.
        host: Address to listen on.
        port: Port to listen on.
        say: Called with a line for the user.

    Raises:
        RequestError: ``tracking`` is not a URI, or the port is taken.
    """
    if tracking.startswith("http"):
        say(f"{tracking} is an MLflow server already: open it in a browser")
        return
    if "://" not in tracking:
        raise RequestError(f"tracking {tracking!r} is not a URI; give one such as sqlite:///mlflow.db")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    say(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The server replaces this process, so that signals reach it and nothing is left behind.
    os.execve(sys.executable, command, {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
