"""A log is followed to the job's end, and written once across lost connections."""

from __future__ import annotations

import io

import pytest

from nmt.orchestrator.errors import RunError
from nmt.orchestrator.submit import follow as module
from nmt.orchestrator.submit.follow import follow
from nmt.orchestrator.submit.job_client import NoSuchJobError
from nmt.orchestrator.submit.link import LINK, LinkReader
from nmt.orchestrator.terminal.json_log import JsonLog

from ._jobs import JobServer

WHERE = "http://head:8265"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_DELAY", 0.0)
    monkeypatch.setattr(module, "_LONGEST_DELAY", 0.0)


def server(*pieces: list[str | Exception]) -> JobServer:
    found = JobServer(pieces=list(pieces))
    found.take("nmt-run-a")
    return found


def test_the_log_is_written_to_its_end() -> None:
    written: list[str] = []
    info = follow(server(["one\n", "two\n"]), "nmt-run-a", written.append, WHERE)
    assert "".join(written) == "one\ntwo\n"
    assert (info.status, info.driver_exit_code) == ("FAILED", 3)


def test_a_lost_connection_repeats_nothing() -> None:
    written: list[str] = []
    lost = [["one\n", ConnectionError("reset")], ["one\ntw"], [RuntimeError("1006")], ["one\ntwo\n", "three\n"]]
    follow(server(*lost), "nmt-run-a", written.append, WHERE)
    assert "".join(written) == "one\ntwo\nthree\n"


def test_the_rest_of_the_log_is_fetched_after_a_connection_lost_at_the_end() -> None:
    written: list[str] = []
    found = server(["the wh", RuntimeError("1006")])
    found.end("nmt-run-a", "SUCCEEDED", 0)
    follow(found, "nmt-run-a", written.append, WHERE)
    assert "".join(written) == "the whole log\n"


def test_a_cluster_that_stays_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    with pytest.raises(RunError, match="the connection to nmt-run-a is lost"):
        follow(server([ConnectionError("reset")], []), "nmt-run-a", print, WHERE)


def test_an_unknown_job_is_refused() -> None:
    with pytest.raises(NoSuchJobError):
        follow(JobServer(), "nmt-run-a", print, WHERE)


def test_ctrl_c_leaves_the_job_alone() -> None:
    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    found = server(["one\n"], [])
    with pytest.raises(KeyboardInterrupt):
        follow(found, "nmt-run-a", interrupt, WHERE)
    assert found.jobs["nmt-run-a"].status == "RUNNING"
    assert found.stops == []


def test_the_link_is_read_from_the_log() -> None:
    written: list[str] = []
    reader = LinkReader(written.append)
    for piece in ("a\nMLflow exper", "iment: http://mlflow:5000/#/exp", "eriments/3\nb\n"):
        reader.write(piece)
    assert reader.link == "http://mlflow:5000/#/experiments/3"
    assert "".join(written) == "a\nMLflow experiment: http://mlflow:5000/#/experiments/3\nb\n"


def test_the_link_in_a_log_of_json_lines() -> None:
    link = "http://mlflow:5000/#/experiments/3"
    stream = io.StringIO()
    log = JsonLog(stream)
    for line in ("a", f"{LINK}{link}", "b"):
        log.write_line(line)
    reader = LinkReader(lambda piece: None)
    for piece in ("[1]\n{}\nnull\n", stream.getvalue()):
        reader.write(piece)
    assert reader.link == link
