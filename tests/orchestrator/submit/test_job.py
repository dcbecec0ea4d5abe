"""Submission is idempotent while a job runs; a job that has ended is submitted again as the next attempt."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nmt.orchestrator.errors import RequestError, RunError
from nmt.orchestrator.submit.job import Job, exit_status, job_status, project_jobs, submit
from nmt.orchestrator.submit.job_client import NoSuchJobError
from nmt.orchestrator.submit.package import Package
from nmt.orchestrator.submit.stopping import stop

from ._jobs import JobServer

WHERE = "http://head:8265"
JOB = Job("sweep", ("--greedy",), "My Experiment!", Package({"experiment.yaml": b"1"}), (), {"nmt.verb": "sweep"})
BASE = JOB.base_id


class TestTheId:
    def test_names_verb_and_experiment(self) -> None:
        assert BASE.startswith("nmt-sweep-my-experiment-")
        assert JOB.entrypoint == "python -m nmt.orchestrator.cli.job_entrypoint sweep experiment.yaml --greedy"

    def test_is_a_hash_of_what_is_computed(self) -> None:
        same = Job("sweep", ("--greedy",), "My Experiment!", Package({"experiment.yaml": b"1"}), (), {"other": "x"})
        assert same.base_id == BASE
        others = [
            dataclasses.replace(JOB, verb="grid"),
            dataclasses.replace(JOB, options=()),
            dataclasses.replace(JOB, package=Package({"experiment.yaml": b"2"})),
            dataclasses.replace(JOB, pins=("torch==2.13.0",)),
        ]
        assert len({BASE, *(other.base_id for other in others)}) == 5


class TestSubmitting:
    def test_sends_the_package(self) -> None:
        server = JobServer()
        assert submit(server, JOB, WHERE).job_id == BASE
        assert server.packages == [{"experiment.yaml": b"1"}]
        sent = server.jobs[BASE].runtime_env
        assert "pip" not in sent
        assert sent["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30", "COLUMNS": "120"}

    def test_installs_pinned_packages_on_request(self) -> None:
        server = JobServer()
        job = dataclasses.replace(JOB, pins=("torch==2.13.0",))
        submit(server, job, WHERE)
        assert server.jobs[job.base_id].runtime_env["pip"]["packages"] == ["torch==2.13.0"]

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_the_log_format_is_passed_on_and_does_not_change_the_id(self, log_format: str) -> None:
        server = JobServer()
        job = dataclasses.replace(JOB, log_format=log_format)
        assert submit(server, job, WHERE).job_id == BASE
        assert server.jobs[BASE].runtime_env["env_vars"]["NMT_LOG_FORMAT"] == log_format

    def test_twice_is_one_job(self) -> None:
        server = JobServer()
        assert submit(server, JOB, WHERE).is_new
        again = submit(server, JOB, WHERE)
        assert (again.job_id, again.is_new) == (BASE, False)
        assert list(server.jobs) == [BASE]

    @pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", None)])
    def test_an_ended_job_is_submitted_again(self, status: str, code: int | None) -> None:
        server = JobServer()
        for attempt in (BASE, f"{BASE}-2", f"{BASE}-3"):
            sent = submit(server, JOB, WHERE)
            assert (sent.job_id, sent.is_new) == (attempt, True)
            server.end(attempt, status, code)

    def test_a_job_that_another_client_submitted_first_is_found(self) -> None:
        server = JobServer()
        server.before = server.take
        sent = submit(server, JOB, WHERE)
        assert (sent.job_id, sent.is_new) == (BASE, False)
        assert server.packages == []

    def test_a_failed_job_of_another_client_is_submitted_again(self) -> None:
        server = JobServer()

        def take_and_fail(job_id: str) -> None:
            server.before = lambda job_id: None
            server.take(job_id)
            server.end(job_id, "FAILED", 1)

        server.before = take_and_fail
        assert submit(server, JOB, WHERE).job_id == f"{BASE}-2"

    def test_a_lost_answer_starts_no_second_job(self) -> None:
        server = JobServer()

        def take_and_break(job_id: str) -> None:
            server.take(job_id)
            raise ConnectionError("reset")

        server.before = take_and_break
        assert submit(server, JOB, WHERE).job_id == BASE
        assert list(server.jobs) == [BASE]

    def test_the_job_servers_reason_is_reported(self) -> None:
        def refuse(job_id: str) -> None:
            raise RuntimeError("Request failed with status code 500: Traceback …\nNo available agent to submit job.")

        with pytest.raises(RunError, match=r"http://head:8265: No available agent to submit job\."):
            submit(JobServer(before=refuse), JOB, WHERE)

    def test_a_wrong_token_is_reported(self) -> None:
        class AuthenticationError(Exception): ...

        def refuse(job_id: str) -> None:
            raise AuthenticationError("Bearer 0123")

        with pytest.raises(RequestError, match="wants a token") as refusal:
            submit(JobServer(before=refuse), JOB, WHERE)
        assert "0123" not in str(refusal.value)


class TestTheEnd:
    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", None, 1), ("FAILED", -9, 1), ("STOPPED", None, 130)],
    )
    def test_exit_status(self, status: str, code: int | None, expected: int) -> None:
        server = JobServer()
        server.take(BASE)
        server.end(BASE, status, code)
        assert exit_status(server.get_job_info(BASE)) == expected

    def test_stopping(self) -> None:
        server = JobServer()
        submit(server, JOB, WHERE)
        ended, was_running = stop(server, BASE, WHERE)
        assert (ended["status"], was_running) == ("STOPPED", True)
        assert stop(server, BASE, WHERE)[1] is False
        assert server.stops == [BASE]
        assert json.loads(json.dumps(ended))["verb"] == "sweep"

    def test_an_unknown_job_has_no_status(self) -> None:
        assert job_status(JobServer(), "nmt-run-x", WHERE) is None
        with pytest.raises(NoSuchJobError, match="there is no job nmt-run-x"):
            stop(JobServer(), "nmt-run-x", WHERE)

    def test_only_own_jobs_are_listed_newest_first(self) -> None:
        server = JobServer()
        for job_id in ("nmt-run-a", "raysubmit_1", "nmt-run-b"):
            server.take(job_id)
        assert [info.submission_id for info in project_jobs(server, WHERE)] == ["nmt-run-b", "nmt-run-a"]
