"""Ray, started here or joined."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator

from orchestrator.errors import RunError
from orchestrator.terminal import standard_error

PLACEMENT_ATTEMPT_SECONDS = 30
"""Seconds of one attempt to place workers: after the loss of a node the first still counts on it."""

_ENVIRONMENT = {
    # A report costs one poll of the controller: 2 seconds by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(PLACEMENT_ATTEMPT_SECONDS),
    # A hung worker does not leave its process group either; half a minute by default.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    # Paths in experiment files are absolute, but a user's own code may use its own.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def address_in_use(address: str | None) -> str | None:
    """The cluster that a command would join: the given address, else ``RAY_ADDRESS``, else none."""
    return address or os.environ.get("RAY_ADDRESS") or None


def _knock(address: str) -> None:
    """See whether anybody listens at ``HOST:PORT``; Ray itself goes on trying for many minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextlib.contextmanager
def cluster(address: str | None, verbose: bool, with_dashboard: bool = False) -> Iterator[dict[str, float]]:
    """Ray for the time of a command; a cluster started here is shut down at the end.

    Args:
        address: Address of a running cluster; ``None`` uses ``RAY_ADDRESS`` or starts Ray on this machine.
        verbose: Whether Ray's own log goes to the terminal.
        with_dashboard: Whether a cluster that is started here has Ray's dashboard, on the loopback address.

    Yields:
        The cluster's resources.

    Raises:
        RunError: Ray cannot be started or reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = address_in_use(address)
    level = logging.INFO if verbose else logging.ERROR
    options = {"log_to_driver": verbose, "logging_level": level, **standard_error.ray_options(verbose)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address:
                _knock(address)
                ray.init(address=address, **options)
            else:
                # Nothing of a cluster started here listens beyond this machine.
                ray.init(
                    include_dashboard=with_dashboard,
                    dashboard_host="127.0.0.1",
                    _node_ip_address="127.0.0.1",
                    **options,
                )
    except Exception as error:  # Ray has no type of its own for a start that fails
        if address:
            raise RunError(f"the Ray cluster at {address} cannot be reached: {error}") from error
        raise RunError(
            f"Ray cannot be started on this machine: {error}\nIt gives up after 30 seconds: where other work holds the "
            "processors, run the same command again when there is less of it"
        ) from error
    try:
        standard_error.after_ray_started()
        for name in ("ray", "ray.train", "ray.tune", "ray.data"):
            logging.getLogger(name).setLevel(level)
        # Ray prints the loss of a worker to standard output, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            yield ray.cluster_resources()
    finally:
        ray.shutdown()
