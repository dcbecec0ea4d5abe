"""The verb ``ui``: MLflow's user interface on a project's tracking store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from nmt.orchestrator.credentials import without_user
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.tracking.address import page


def serve(tracking: str, host: str, port: int, say: Callable[[str], None], experiment: str | None = None) -> None:
    """Replace this process by MLflow's server on the store; where the store is a server, only show its address.

    Args:
        tracking: Tracking URI.
        host: Address to listen on.
        port: Port to listen on.
        say: Called with a line for the user.
        experiment: Name of the experiment whose page is shown; MLflow's home page when absent.

    Raises:
        RequestError: ``tracking`` is not a URI, or the port is taken.
    """
    if tracking.startswith("http"):
        say(f"an MLflow server already: open {page_of(tracking, tracking, experiment)} in a browser")
        return
    if "://" not in tracking:
        raise RequestError(f"tracking {tracking!r} is not a URI; give one such as sqlite:///mlflow.db")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    say(f"MLflow on {page_of(tracking, f'http://{host}:{port}', experiment)} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The server replaces this process, so that signals reach it and nothing is left behind.
    os.execve(sys.executable, command, {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})


def page_of(tracking: str, server: str, experiment: str | None) -> str:
    """Return the address of an experiment's page on a server; of its home page where the store has no such experiment.

    Args:
        tracking: Tracking URI of the store.
        server: Address of the server.
        experiment: Name of the experiment.
    """
    home = without_user(server)
    if experiment is None:
        return home
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        found = MlflowClient(tracking).get_experiment_by_name(experiment)
    except (MlflowException, OSError):
        return home
    return home if found is None else page(server, found.experiment_id)
