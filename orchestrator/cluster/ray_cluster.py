"""A Ray cluster for the time of a command: started on this machine, or joined."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

from nmt.orchestrator.cluster.connection import check_listening
from nmt.orchestrator.errors import RunError
from nmt.orchestrator.terminal import standard_error
from nmt.orchestrator.terminal.termination import heed_sigterm

PLACEMENT_ATTEMPT_SECONDS = 30
"""Seconds of one attempt to place workers: after the loss of a node the first attempt still counts on that node."""

_ENVIRONMENT = {
    # A report waits for one poll of the controller: 2 seconds by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(PLACEMENT_ATTEMPT_SECONDS),
    # A hung worker never leaves its process group, so the shutdown always times out: half a minute by default.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    # A user's own code may use paths relative to the current folder.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def address_in_use(address: str | None) -> str | None:
    """Return the cluster that a command would join: the given address, else ``RAY_ADDRESS``, else none."""
    return address or os.environ.get("RAY_ADDRESS") or None


@contextlib.contextmanager
def cluster(address: str | None, verbose: bool, with_dashboard: bool = False) -> Iterator[dict[str, float]]:
    """Connect to Ray for the time of a command; a cluster started here is shut down at the end.

    Args:
        address: Address of a running cluster; ``None`` uses ``RAY_ADDRESS`` or starts Ray on this machine.
        verbose: Whether to show Ray's own log.
        with_dashboard: Whether a cluster started here has Ray's dashboard, on the loopback address.

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
                host, _, port = address.removeprefix("ray://").rpartition(":")
                if host and port.isdigit():
                    check_listening(host.strip("[]"), int(port))
                ray.init(address=address, **options)
            else:
                # A cluster started here must not listen beyond this machine.
                ray.init(
                    include_dashboard=with_dashboard,
                    dashboard_host="127.0.0.1",
                    _node_ip_address="127.0.0.1",
                    **options,
                )
    except Exception as error:  # Ray has no exception type for a failed start
        if address:
            raise RunError(f"the Ray cluster at {address} cannot be reached: {error}") from error
        raise RunError(
            f"Ray cannot be started on this machine: {error}\nIt gives up after 30 seconds; if the machine is busy, "
            "run the same command again when it is not"
        ) from error
    heed_sigterm()  # Ray has put its own handler there
    try:
        standard_error.after_ray_started()
        for name in ("ray", "ray.train", "ray.tune", "ray.data"):
            logging.getLogger(name).setLevel(level)
        # Ray prints lost workers to standard output, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            yield ray.cluster_resources()
    finally:
        ray.shutdown()
