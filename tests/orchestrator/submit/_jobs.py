"""A job server that keeps its jobs in memory, in place of a cluster's."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass
class JobServer:
    """Stands in for Ray's job client and the server behind it.

    Attributes:
        jobs: Id → job.
        packages: What was sent with each, path → content.
        before: Called before a job is taken; may raise, or take it for somebody else.
        pieces: What each connection to a log sends before it ends; an exception breaks it.
    """

    jobs: dict[str, SimpleNamespace] = field(default_factory=dict)
    packages: list[dict[str, bytes]] = field(default_factory=list)
    before: Callable[[str], None] = lambda job_id: None
    pieces: list[list[str | Exception]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def submit_job(
        self,
        *,
        entrypoint: str,
        submission_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> str:
        assert submission_id is not None
        assert runtime_env is not None
        self.before(submission_id)
        if submission_id in self.jobs:
            raise RuntimeError(f"Request failed with status code 500: ValueError: {submission_id} already exists.")
        with zipfile.ZipFile(Path(runtime_env["working_dir"])) as archive:
            self.packages.append({name: archive.read(name) for name in archive.namelist()})
        self.take(submission_id, entrypoint, runtime_env, metadata or {})
        return submission_id

    def take(self, job_id: str, entrypoint: str = "", runtime_env: Any = None, metadata: Any = None) -> None:
        self.jobs[job_id] = SimpleNamespace(
            submission_id=job_id,
            status="RUNNING",
            driver_exit_code=None,
            message="",
            metadata=metadata,
            runtime_env=runtime_env,
            entrypoint=entrypoint,
            start_time=len(self.jobs),
            end_time=None,
        )

    def end(self, job_id: str, status: str, code: int | None) -> None:
        self.jobs[job_id].status = status
        self.jobs[job_id].driver_exit_code = code

    def get_job_info(self, job_id: str) -> Any:
        if job_id not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")
        return self.jobs[job_id]

    def list_jobs(self) -> Sequence[Any]:
        return list(self.jobs.values())

    def stop_job(self, job_id: str) -> bool:
        self.stops.append(job_id)
        self.end(job_id, "STOPPED", None)
        return True

    def get_job_logs(self, job_id: str) -> str:
        return "the whole log\n"

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        self.get_job_info(job_id)
        pieces = self.pieces.pop(0) if self.pieces else []
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
        if not self.pieces:
            self.end(job_id, "FAILED", 3)
