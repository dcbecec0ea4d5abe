"""A job: its id, which is a hash of what it computes, and its idempotent submission."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.submit.job_client import JobClient, NoSuchJobError, ask, translate_error
from nmt.orchestrator.submit.package import EXPERIMENT, Package
from nmt.orchestrator.terminal.standard_error import VARIABLE

PREFIX = "nmt-"
"""Prefix of the ids of this project's jobs."""

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})

_STOP_SECONDS = 30
"""Time for a stopped job to end its run in MLflow; Ray's default is 3 seconds."""

_MAX_ATTEMPTS = 1000


@dataclass(frozen=True)
class Job:
    """A job to submit.

    Attributes:
        verb: The verb to run.
        options: Options of the verb.
        name: The experiment's name.
        package: The files.
        pins: Packages that Ray installs on every node; none uses the cluster's image as it is.
        metadata: Shown by Ray with the job, so it holds no secrets.
        log_format: Format of the job's log, not part of its id; by default the cluster's own setting.
    """

    verb: str
    options: tuple[str, ...]
    name: str
    package: Package
    pins: tuple[str, ...]
    metadata: Mapping[str, str]
    log_format: str | None = None

    @property
    def base_id(self) -> str:
        """Id of the first attempt: the same for the same verb, options, experiment, code and packages."""
        content = "\0".join((self.verb, *self.options, *self.pins, self.package.digest))
        name = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "experiment"
        return f"{PREFIX}{self.verb}-{name}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"

    @property
    def entrypoint(self) -> str:
        """The command line on the cluster."""
        return shlex.join(["python", "-m", "nmt.orchestrator.cli.job_entrypoint", self.verb, EXPERIMENT, *self.options])

    def runtime_env(self, archive: Path) -> dict[str, Any]:
        """Return Ray's runtime environment. It holds no credentials, since everybody on the cluster can read it."""
        return {
            "working_dir": str(archive),
            "env_vars": {
                "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS),
                "COLUMNS": "120",
                **({VARIABLE: self.log_format} if self.log_format else {}),
            },
            **({"pip": {"packages": list(self.pins), "pip_check": False}} if self.pins else {}),
        }


@dataclass(frozen=True)
class Submitted:
    """A job on a cluster.

    Attributes:
        job_id: Its id.
        is_new: Whether it was submitted now; otherwise it was already running.
    """

    job_id: str
    is_new: bool


def submit(client: JobClient, job: Job, address: str) -> Submitted:
    """Submit a job, or attach to the same one where it is running.

    A job that has ended is submitted again with the number of the attempt at the end of its id, since Ray accepts an
    id only once. It finds the stages of earlier attempts in the storage.

    Args:
        client: Ray's job client.
        job: The job.
        address: The cluster, for messages.

    Raises:
        RequestError: The package is larger than the job server takes.
        RunError: The cluster does not take the job.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.zip"
        job.package.write(archive)
        for job_id in _ids(job.base_id):
            status = job_status(client, job_id, address)
            if status is None:
                try:
                    client.submit_job(
                        entrypoint=job.entrypoint,
                        submission_id=job_id,
                        runtime_env=job.runtime_env(archive),
                        metadata=dict(job.metadata),
                    )
                    return Submitted(job_id, is_new=True)
                except Exception as error:
                    # Another client submitted the same job first, or the answer to our own request was lost.
                    status = job_status(client, job_id, address)
                    if status is None:
                        raise translate_error(error, address) from error
            if status not in TERMINAL:
                return Submitted(job_id, is_new=False)
    raise RequestError(f"{job.base_id} was submitted {_MAX_ATTEMPTS} times; delete old jobs, or restart the cluster")


def job_status(client: JobClient, job_id: str, address: str) -> str | None:
    """Return a job's status, such as ``RUNNING``; ``None`` when there is no such job.

    Raises:
        RunError: The job server does not answer.
    """
    try:
        info = ask(lambda: client.get_job_info(job_id), address)
    except NoSuchJobError:
        return None
    return status_text(info)


def status_text(info: Any) -> str:
    """Return the status in Ray's details of a job as text: some versions of Ray give an enum."""
    return str(getattr(info.status, "value", info.status))


def exit_status(info: Any) -> int:
    """Return the exit status of an ended job, 130 when it was stopped."""
    status = status_text(info)
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return 130
    code = info.driver_exit_code
    return code if isinstance(code, int) and 0 < code < 256 else 1


def job_to_dict(info: Any) -> dict[str, Any]:
    """Return Ray's details of a job as JSON-ready content."""
    return {
        "id": info.submission_id,
        "status": status_text(info),
        "experiment": (info.metadata or {}).get("nmt.experiment"),
        "verb": (info.metadata or {}).get("nmt.verb"),
        "mlflow": (info.metadata or {}).get("nmt.mlflow"),
        "started": info.start_time,
        "ended": info.end_time,
        "exit_status": info.driver_exit_code,
        "message": (info.message or "").splitlines()[0] if info.message else None,
    }


def project_jobs(client: JobClient, address: str) -> Sequence[Any]:
    """Return this project's jobs on a cluster, newest first.

    Raises:
        RunError: The job server does not answer.
    """
    found = ask(client.list_jobs, address)
    own = [info for info in found if (info.submission_id or "").startswith(PREFIX)]
    return sorted(own, key=lambda info: info.start_time or 0, reverse=True)


def _ids(base: str) -> Iterator[str]:
    yield base
    for attempt in range(2, _MAX_ATTEMPTS + 1):
        yield f"{base}-{attempt}"
