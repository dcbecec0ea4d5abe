"""Follows a job's log to its end, across lost connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from nmt.orchestrator.errors import RunError
from nmt.orchestrator.submit.job import TERMINAL, job_status
from nmt.orchestrator.submit.job_client import JobClient, NoSuchJobError, ask

_PATIENCE = 120.0
"""Seconds of retries while the cluster does not answer."""

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 10.0


def follow(client: JobClient, job_id: str, write: Callable[[str], None], address: str) -> Any:
    """Write a job's log from its beginning until the job has ended.

    Args:
        client: Ray's job client.
        job_id: The job.
        write: Called with each piece of the log.
        address: The cluster, for messages.

    Returns:
        Ray's details of the ended job.

    Raises:
        RequestError: There is no such job.
        RunError: The cluster does not answer for two minutes; the job may still run.
        KeyboardInterrupt: The user stopped following; the job continues.
    """
    log = _Log(write)
    delay, lost_since = _FIRST_DELAY, None
    while True:
        before = log.written
        failure: Exception | None = None
        try:
            asyncio.run(_tail(client, job_id, log))
        except (OSError, RuntimeError, EOFError) as error:
            failure = error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "aiohttp":
                raise
            failure = error
        try:
            if require_status(client, job_id, address) in TERMINAL:
                if failure is not None:
                    log.restart()
                    log.write(ask(lambda: client.get_job_logs(job_id), address))
                return ask(lambda: client.get_job_info(job_id), address)
        except RunError as error:
            failure = error
        if log.written > before:
            delay, lost_since = _FIRST_DELAY, None
        now = time.monotonic()
        lost_since = now if lost_since is None or failure is None else lost_since
        if now - lost_since > _PATIENCE:
            raise RunError(f"the connection to {job_id} is lost ({failure}); the job may still run")
        time.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


def require_status(client: JobClient, job_id: str, address: str) -> str:
    """Return the status of a job that must exist.

    Raises:
        NoSuchJobError: There is no such job.
        RunError: The job server does not answer.
    """
    status = job_status(client, job_id, address)
    if status is None:
        raise NoSuchJobError(f"there is no job {job_id} on {address}; nmt submit status lists all jobs")
    return status


class _Log:
    """A log that the cluster sends from its beginning after each lost connection; every part is written once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.written = 0
        self._read = 0

    def restart(self) -> None:
        self._read = 0

    def write(self, piece: str) -> None:
        new = piece[max(0, self.written - self._read) :]
        self._read += len(piece)
        if new:
            self._write(new)
            self.written += len(new)


async def _tail(client: JobClient, job_id: str, log: _Log) -> None:
    log.restart()
    async for piece in client.tail_job_logs(job_id):
        log.write(piece)
