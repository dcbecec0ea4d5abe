"""Follows a job's log to its end, over lost connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from orchestrator.errors import RunError
from orchestrator.submit.job import TERMINAL, job_status
from orchestrator.submit.job_client import JobClient, NoSuchJobError, ask

_PATIENCE = 120.0
"""Seconds for which a cluster that does not answer is asked again."""

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 10.0


def follow(client: JobClient, job_id: str, write: Callable[[str], None], address: str) -> Any:
    """Write a job's log from its beginning on, until the job has ended.

    Args:
        client: Ray's job client.
        job_id: The job.
        write: Called with each piece of the log.
        address: The cluster, for messages.

    Returns:
        Ray's details of the ended job.

    Raises:
        RequestError: There is no such job.
        RunError: The cluster does not answer for two minutes; the job may well go on.
        KeyboardInterrupt: The user does not want to see more; the job goes on.
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
                    log.take_whole(ask(lambda: client.get_job_logs(job_id), address))
                return ask(lambda: client.get_job_info(job_id), address)
        except RunError as error:
            failure = error
        if log.written > before:
            delay, lost_since = _FIRST_DELAY, None
        now = time.monotonic()
        lost_since = now if lost_since is None or failure is None else lost_since
        if now - lost_since > _PATIENCE:
            raise RunError(f"the connection to {job_id} is lost ({failure}); whether it goes on is not known")
        time.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


def require_status(client: JobClient, job_id: str, address: str) -> str:
    """A job's status.

    Raises:
        NoSuchJobError: There is no such job.
        RunError: The job server does not answer.
    """
    status = job_status(client, job_id, address)
    if status is None:
        raise NoSuchJobError(f"there is no job {job_id} on {address}; nmt submit status lists those that there are")
    return status


class _Log:
    """A log that is sent from its beginning again after a lost connection, and written once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.written = 0
        self._read = 0

    def begin(self) -> None:
        self._read = 0

    def take(self, piece: str) -> None:
        new = piece[max(0, self.written - self._read) :]
        self._read += len(piece)
        if new:
            self._write(new)
            self.written += len(new)

    def take_whole(self, text: str) -> None:
        self.begin()
        self.take(text)


async def _tail(client: JobClient, job_id: str, log: _Log) -> None:
    log.begin()
    async for piece in client.tail_job_logs(job_id):
        log.take(piece)
