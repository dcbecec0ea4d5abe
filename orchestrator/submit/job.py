"""A job: its name, which follows from what it computes, and how it is sent once however often that is asked."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.submit.job_client import JobClient, NoSuchJobError, ask, told
from orchestrator.submit.package import EXPERIMENT, Package
from orchestrator.terminal.standard_error import VARIABLE

PREFIX = "nmt-"
"""What the ids of all of this project's jobs begin with."""

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})

_STOP_SECONDS = 30
"""Time for a job that is stopped to end its run in MLflow; Ray's own is 3 seconds."""

_MOST_ATTEMPTS = 1000


@dataclass(frozen=True)
class Job:
    """What is sent.

    Attributes:
        verb: What is done.
        options: Options of the verb.
        name: The experiment's name.
        package: The files.
        pins: Packages that Ray installs on every node; the cluster's image is used as it is when empty.
        metadata: What Ray shows beside the job; no secrets.
        log_format: What the job's log is written as, which makes no other job of it; the cluster's own setting holds
            when absent.
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
        """The same for the same verb, options, experiment, code and packages."""
        content = "\0".join((self.verb, *self.options, *self.pins, self.package.digest))
        name = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "experiment"
        return f"{PREFIX}{self.verb}-{name}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"

    @property
    def entrypoint(self) -> str:
        """The command line on the cluster."""
        return shlex.join(["python", "-m", "orchestrator.cli.job", self.verb, EXPERIMENT, *self.options])

    def runtime_env(self, archive: Path) -> dict[str, Any]:
        """Ray's runtime environment; credentials stay out of it, for everybody on the cluster can read it."""
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
        is_new: Whether it was sent now; otherwise it was under way already.
    """

    job_id: str
    is_new: bool


def submit(client: JobClient, job: Job, address: str) -> Submitted:
    """Send a job, or find the same one under way.

    One that has ended is sent again with the number of the attempt behind its id, since Ray takes an id only once;
    what it computed is found in the storage.

    Args:
        client: Ray's job client.
        job: What to send.
        address: The cluster, for messages.

    Raises:
        RequestError: The package is larger than the job server takes.
        RunError: The cluster does not take the job.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.zip"
        job.package.write(archive)
        for job_id in _ids(job.base_id):
            status = status_of(client, job_id, address)
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
                    # Somebody else was faster, or the answer to our own request was lost.
                    status = status_of(client, job_id, address)
                    if status is None:
                        raise told(error, address) from error
            if status not in TERMINAL:
                return Submitted(job_id, is_new=False)
    raise RequestError(
        f"{job.base_id} was submitted {_MOST_ATTEMPTS} times; delete old jobs, or start the cluster anew"
    )


def status_of(client: JobClient, job_id: str, address: str) -> str | None:
    """A job's status, such as ``RUNNING``; ``None`` when there is no such job.

    Raises:
        RunError: The job server does not answer.
    """
    try:
        info = ask(lambda: client.get_job_info(job_id), address)
    except NoSuchJobError:
        return None
    return str(getattr(info.status, "value", info.status))


def exit_status(info: Any) -> int:
    """What a command that followed a job to its end ends with: the job's own status, 130 when it was stopped."""
    status = str(getattr(info.status, "value", info.status))
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return 130
    code = info.driver_exit_code
    return code if isinstance(code, int) and 0 < code < 256 else 1


def described(info: Any) -> dict[str, Any]:
    """A job as JSON-ready content."""
    return {
        "id": info.submission_id,
        "status": str(getattr(info.status, "value", info.status)),
        "experiment": (info.metadata or {}).get("nmt.experiment"),
        "verb": (info.metadata or {}).get("nmt.verb"),
        "mlflow": (info.metadata or {}).get("nmt.mlflow"),
        "started": info.start_time,
        "ended": info.end_time,
        "exit_status": info.driver_exit_code,
        "message": (info.message or "").splitlines()[0] if info.message else None,
    }


def jobs_of(client: JobClient, address: str) -> Sequence[Any]:
    """This project's jobs on a cluster, the newest first.

    Raises:
        RunError: The job server does not answer.
    """
    found = ask(client.list_jobs, address)
    own = [info for info in found if (info.submission_id or "").startswith(PREFIX)]
    return sorted(own, key=lambda info: info.start_time or 0, reverse=True)


def _ids(base: str) -> Iterator[str]:
    yield base
    for attempt in range(2, _MOST_ATTEMPTS + 1):
        yield f"{base}-{attempt}"
