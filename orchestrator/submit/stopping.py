"""Stops a job on a cluster."""

from __future__ import annotations

import time
from typing import Any

from nmt.orchestrator.errors import RunError
from nmt.orchestrator.submit.follow import require_status
from nmt.orchestrator.submit.job import TERMINAL, job_to_dict
from nmt.orchestrator.submit.job_client import JobClient, ask

_PATIENCE = 120.0
"""Longest wait for a job's end; Ray kills it after half a minute."""

_DELAY = 0.3


def stop(client: JobClient, job_id: str, address: str) -> tuple[dict[str, Any], bool]:
    """Stop a job, and wait until it has ended.

    Args:
        client: Ray's job client.
        job_id: The job.
        address: The cluster, for messages.

    Returns:
        The ended job, and whether it was running before.

    Raises:
        RequestError: There is no such job.
        RunError: It does not end.
    """
    running = require_status(client, job_id, address) not in TERMINAL
    if running:
        ask(lambda: client.stop_job(job_id), address)
    end = time.monotonic() + _PATIENCE
    while require_status(client, job_id, address) not in TERMINAL:
        if time.monotonic() > end:
            raise RunError(f"{job_id} did not stop within {_PATIENCE:g} seconds; see the dashboard at {address}")
        time.sleep(_DELAY)
    return job_to_dict(ask(lambda: client.get_job_info(job_id), address)), running
