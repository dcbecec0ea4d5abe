"""Standard error as JSON lines: what a log collector gets of a command, its events and whoever else writes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nmt.orchestrator.cli import app as cli
from nmt.orchestrator.cluster.tuning.runner import Ending
from nmt.orchestrator.terminal import standard_error
from nmt.orchestrator.terminal.json_log import JsonLog
from nmt.orchestrator.terminal.output import JsonOutput
from nmt.orchestrator.terminal.stage_line import LINE_SECONDS, MOST_TASKS, STEP_SECONDS
from nmt.orchestrator.trials.grid_plan import plan_grid
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.verbs.grid import run_grid
from nmt.orchestrator.verbs.sweep import run_sweep
from nmt.trainers.records import Candidate, Row
from nmt.trainers.reporter import (
    CheckpointFailed,
    Evaluated,
    Event,
    Progress,
    StageAwaited,
    StageFinished,
    StageStarted,
)
from tests.orchestrator import _group
from tests.orchestrator._records import SPLITS, record, started, verdict
from tests.orchestrator._tracked import Project
from tests.orchestrator.conftest import Command

LEVELS = [["pay"], ["amount"]]
TIME = datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC)


def at_noon(record: logging.LogRecord) -> bool:
    record.created = TIME.timestamp()
    return True


class Collector:
    """A log, a clock that stands until it is told to move, and the lines as a collector reads them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.log = JsonLog(self.stream)
        self.log.addFilter(at_noon)
        self.output = JsonOutput(self.log, lambda: self.now)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return lines_of(self.stream.getvalue())

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


def lines_of(text: str) -> list[dict[str, Any]]:
    """Every line is one JSON object, without what only Python writes, and with what each line has."""
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "event", "message"]
        assert datetime.fromisoformat(line["time"]).utcoffset() == TIME.utcoffset()
        assert line["level"] in ("info", "warning", "error")
    return lines


def one(text: str, event: str, **fields: Any) -> dict[str, Any]:
    (found,) = [line for line in lines_of(text) if line["event"] == event and fields.items() <= line.items()]
    return found


def second_stage() -> list[Event]:
    """Stage 2 from its start to its end."""
    losses = {"pay": 0.5, "amount": 0.87}
    judged = (verdict("pay", 0.0003, 0.0011),)
    held = [*judged, verdict("pay", 0.0004, 0.0011, split="test")]
    return [
        StageAwaited(1, 2, "key1", ("amount",)),
        StageStarted(1, 2, "key1", ("amount",), {"amount": 1.0}, ("pay",), 240),
        Progress(1, 59, tuple(Row(59, {"pay": 0.5, "amount": a}, {"pay": -0.1}, {"pay": 1.02}) for a in (0.75, 1.0))),
        Evaluated(1, Candidate(60, losses, {"pay": 0.8, "amount": math.nan}, judged, True, True)),
        CheckpointFailed(1, 90, "No space left on device"),
        StageFinished(record(1, ["amount"], ["pay"], verdicts=held, multipliers={"pay": 1.5}), reused=False),
    ]


class TestChain:
    def test_a_line_for_each_kind_of_event(self) -> None:
        collector = Collector()
        with collector.output.chain(LEVELS) as display:
            display.show(StageFinished(record(0, ["pay"]), reused=True))
            for event in second_stage():
                collector.now += LINE_SECONDS
                display.show(event)
        reused, awaited, started, evaluation, failed, finished = collector.lines
        stage = {"stage": 2, "tasks": ["amount"], "key": "key1"}
        base = {"time": "2026-01-31T12:00:00.250Z", "level": "info"}
        assert reused == {
            **base,
            "event": "stage_reused",
            "message": "stage 1/2 pay: reused key0; accepted step 60; loss 0.500 valid; 0:02",
            "stage": 1,
            "tasks": ["pay"],
            "key": "key0",
            "held": True,
            "samples": 1000,
            "wall_seconds": 1.5,
        }
        assert awaited == {
            **base,
            "event": "stage_awaited",
            "message": "stage 2/2 amount: waits for key1, which another process trains",
            **stage,
        }
        assert started == {
            **base,
            "event": "stage_started",
            "message": "stage 2/2 amount: started, at most 240 steps, protects pay",
            **stage,
            "step": 0,
            "max_steps": 240,
            "protected": ["pay"],
            "resumed": False,
        }
        assert evaluation.pop("message").startswith(
            "stage 2/2 amount: step 60/240; loss 0.875 train, 0.870 valid; pay "
        )
        assert evaluation == {
            **base,
            "event": "evaluation",
            **stage,
            "step": 60,
            "max_steps": 240,
            "losses": {"train": {"pay": 0.5, "amount": 0.875}, "valid": {"pay": 0.5, "amount": 0.87}},
            "violations": {"pay": -0.1},
            "multipliers": {"pay": 1.02},
            "metrics": {"valid": {"pay": 0.8, "amount": None}},
            "limits": {"pay": {"difference": 0.0003, "allowed": 0.0011, "held": True}},
            "held": True,
            "accepted": True,
        }
        assert (failed["event"], failed["level"], failed["step"]) == ("checkpoint_failed", "warning", 90)
        assert failed["reason"] == "No space left on device"
        assert finished["event"] == "stage_finished"
        expected = {"accepted_step": 60, "steps": 100, "samples": 1000, "held": True, "multipliers": {"pay": 1.5}}
        assert {**stage, **expected}.items() <= finished.items()
        assert finished["losses"] == {split: {"pay": 0.5, "amount": 0.5} for split in ("train", "valid", "test")}

    def test_lines_of_the_joint_start_have_its_first_tasks(self) -> None:
        collector = Collector()
        tasks = [f"task{place:02}" for place in range(64)]
        losses = dict.fromkeys(tasks, 0.5)
        weights = dict.fromkeys(tasks, 1 / 64)
        everywhere = dict.fromkeys(SPLITS, losses)
        joint = record(0, (), number=0, objective=weights, losses=everywhere, metrics=everywhere)
        with collector.output.chain([(), *([task] for task in tasks)]) as display:
            display.show(started(joint))
            collector.now += LINE_SECONDS
            display.show(Progress(0, 1, (Row(1, losses, {}, {}),)))
            display.show(Evaluated(0, Candidate(1, losses, losses, (), True, True)))
            display.show(StageFinished(joint, reused=False))
        begun, evaluation, finished = collector.lines
        assert begun["message"] == "stage 0/64 joint: started, at most 100 steps"
        for line in (begun, evaluation, finished):
            assert (line["stage"], line["tasks"], line["key"]) == (0, [], "key0")
        first = tasks[:MOST_TASKS]
        for line in (evaluation, finished):
            assert list(line["losses"]["train"]) == list(line["losses"]["valid"]) == first
            assert list(line["metrics"]["valid"]) == first

    def test_evaluations_are_paced_and_steps_are_a_sign_of_life(self) -> None:
        collector = Collector()
        rows = (Row(1, {"pay": 0.5}, {}, {}),)
        with collector.output.chain(LEVELS) as display:
            display.show(StageStarted(0, 1, "key0", ("pay",), {"pay": 1.0}, (), 1000))
            for step in range(20):
                collector.now += LINE_SECONDS / 10
                display.show(Progress(0, step, rows))
                display.show(Evaluated(0, Candidate(step, {"pay": 0.5}, {}, (), True, False)))
            assert collector.events == ["stage_started", "evaluation", "evaluation"]
            for step in range(20, 30):
                collector.now += STEP_SECONDS / 5
                display.show(Progress(0, step, rows))
        assert collector.events[3:] == ["step", "step", "stage_stopped"]
        step, _, stopped = collector.lines[3:]
        assert step["losses"] == {"train": {"pay": 0.5}}
        message = "stage 1/2 pay: step 24/1000; loss 0.500 train; 1:10, ≤ 47:06 left"
        assert (step["step"], step["message"]) == (24, message)
        assert (stopped["level"], stopped["stage"], stopped["step"]) == ("warning", 1, 29)

    def test_of_many_tasks_those_closest_to_their_limits(self) -> None:
        collector = Collector()
        tasks = [f"task{place:02}" for place in range(64)]
        judged = tuple(verdict(task, place / 1e4, 0.01) for place, task in enumerate(tasks))
        losses = {**dict.fromkeys(tasks, 1 / 3), "last": 0.7}
        row = Row(1, losses, dict.fromkeys(tasks, 0.1), {task: place / 10 for place, task in enumerate(tasks)})
        with collector.output.chain([*([task] for task in tasks), ["last"]]) as display:
            display.show(StageStarted(64, 65, "key", ("last",), {"last": 1.0}, tuple(tasks), 1000))
            collector.now += LINE_SECONDS
            display.show(Progress(64, 1, (row,)))
            display.show(Evaluated(64, Candidate(1, losses, {}, judged, True, True)))
        evaluation = collector.lines[1]
        assert list(evaluation["limits"]) == tasks[-MOST_TASKS:] == list(evaluation["multipliers"])
        assert list(evaluation["losses"]["valid"]) == [*tasks[-MOST_TASKS:], "last"]
        assert max(map(len, collector.stream.getvalue().splitlines())) < 4096


class TestGroup:
    def test_lines_have_their_trial(self, project: Project) -> None:
        collector = Collector()
        prepared = _group.prepared(project)
        runner = _group.Runner(project.storage, {1: (1, Ending("diverged", "the loss of task amount is nan"))})
        outcome = run_sweep(prepared, plan_sweep(prepared), runner.as_runner, collector.output)
        lines = collector.lines
        assert (lines[0]["event"], lines[-1]["event"]) == ("group_started", "group_finished")
        assert lines[0]["planned"]["trials"] == 4
        for number, result in enumerate(outcome.results, 1):
            mine = [line for line in lines if line.get("trial_number") == number]
            assert {line["trial"] for line in mine} == {result.trial.label}
            assert (mine[0]["event"], mine[-1]["event"]) == ("trial_started", "trial_ended")
            assert mine[0]["params"] == result.trial.params
            assert (mine[-1]["status"], mine[-1]["cost"]["samples"]) == (result.status, result.cost.samples)
            ends = [line for line in mine if line["event"] in ("stage_finished", "stage_reused")]
            assert [line["key"] for line in ends] == [one.key for one in result.records]
        (diverged,) = [line for line in lines if line.get("status") == "diverged"]
        assert (diverged["level"], diverged["reason"]) == ("warning", "the loss of task amount is nan")
        cost = json.loads(json.dumps(outcome.to_dict()["cost"]))
        assert (lines[-1]["winner"], lines[-1]["cost"]) == (outcome.to_dict()["winner"], cost)

    def test_a_failed_trial_is_an_error(self, project: Project) -> None:
        collector = Collector()
        prepared = _group.prepared(project)
        runner = _group.Runner(project.storage, {0: (0, Ending("failed", "CUDA error"))})
        run_grid(prepared, plan_grid(prepared), runner.as_runner, collector.output)
        (failed,) = [line for line in collector.lines if line["level"] == "error"]
        assert (failed["event"], failed["status"], failed["trial_number"]) == ("trial_ended", "failed", 1)


class TestLines:
    def test_no_credentials_no_bare_nan_and_what_it_is_about(self) -> None:
        collector = Collector()
        collector.output.about(verb="run")
        where = ["postgresql://me:hunter22@db/mlflow"]
        collector.output.say(f"see {where[0]}", "seen", where=where, loss=math.inf, losses={"a": math.nan})
        (line,) = collector.lines
        assert "hunter22" not in collector.stream.getvalue()
        assert (line["where"], line["loss"], line["losses"]) == (["postgresql://***@db/mlflow"], None, {"a": None})
        assert line["verb"] == "run"

    def test_a_stream_that_is_not_utf8_gets_ascii(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
        JsonLog(stream).write("message", "η_λ 10 é")
        assert json.loads(raw.getvalue())["message"] == "η_λ 10 é"


@contextlib.contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Standard error is a JSON log; no fixture, since pytest puts its own in place before a test."""
    collector = Collector()
    monkeypatch.setattr(sys, "stderr", collector.stream)
    standard_error.capture()
    try:
        yield collector
    finally:
        standard_error.release()


class TestStandardError:
    def test_whoever_writes(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "ray.train")  # a command in this process may have silenced it
        with installed(monkeypatch) as collector:
            print("a\x1b[36m colour\x1b[0m\nERROR of somebody\n 10%\r 20%\rdone", file=sys.stderr)
            print(json.dumps({"levelname": "ERROR", "message": "see https://me:hunter22@host"}), file=sys.stderr)
            print(json.dumps({"event": "of a job", "level": "error"}), file=sys.stderr)
            logging.getLogger("ray.train").warning("a worker\nis slow: %g", math.nan)
            warnings.showwarning("old", DeprecationWarning, "file.py", 1)
            try:
                raise KeyError("x")
            except KeyError as error:
                sys.excepthook(KeyError, error, error.__traceback__)
        text = collector.stream.getvalue().splitlines()
        assert json.loads(text.pop(4)) == {"event": "of a job", "level": "error"}
        *printed, of_ray, logged, warned, crashed = lines_of("\n".join(text))
        assert [line["message"] for line in printed] == ["a colour", "ERROR of somebody", "done"]
        assert [line["level"] for line in printed] == ["info", "error", "info"]
        assert (of_ray["event"], of_ray["level"], of_ray["message"]) == ("log", "error", "see https://***@host")
        assert (logged["event"], logged["level"], logged["logger"]) == ("log", "warning", "ray.train")
        assert logged["message"] == "a worker\nis slow: nan"
        assert (warned["logger"], "DeprecationWarning: old" in warned["message"]) == ("py.warnings", True)
        assert (crashed["event"], crashed["message"], crashed["exit_status"]) == ("crashed", "KeyError: 'x'", 1)
        assert "test_whoever_writes" in crashed["traceback"]

    def test_what_no_handler_catches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise KeyError("x")

        with installed(monkeypatch) as collector:
            logging.getLogger("somebody").warning("%d steps", "many")
            thread = threading.Thread(target=fail, name="feed")
            thread.start()
            thread.join()
        malformed, crashed = collector.lines
        assert (malformed["event"], malformed["logger"]) == ("log", "somebody")
        assert malformed["message"] == "%d steps ('many',)"
        assert (crashed["event"], crashed["thread"], crashed["message"]) == ("thread_crashed", "feed", "KeyError: 'x'")
        assert "in fail" in crashed["traceback"]

    def test_a_stream_that_is_gone_stops_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts: list[str] = []

        def refuse(text: str) -> int:
            attempts.append(text)
            raise BrokenPipeError

        with installed(monkeypatch) as collector:
            monkeypatch.setattr(collector.stream, "write", refuse)
            print("nobody reads", file=sys.stderr)
            logging.getLogger("somebody").warning("nobody reads")
        assert [json.loads(line)["event"] for line in attempts] == ["output", "log", "log"]

    def test_lines_of_threads_stay_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(number: int) -> None:
            for _ in range(100):
                sys.stderr.write(f"{number}" * 50 + "\n")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        with installed(monkeypatch) as collector:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert Counter(line["message"] for line in collector.lines) == {f"{number}" * 50: 100 for number in range(4)}

    def test_text_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        handlers = logging.getLogger().handlers[:]
        with installed(monkeypatch) as collector:
            standard_error.release()
            print("plain", file=sys.stderr)
        assert collector.stream.getvalue() == "plain\n"
        assert logging.getLogger().handlers == handlers


@pytest.mark.slow
class TestErrors:
    def test_a_wrong_request(self, nmt: Command) -> None:
        done = nmt("run", "nothere.yaml", "--log-format", "json")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = lines_of(done.stderr)
        assert (line["event"], line["level"], line["exit_status"]) == ("request_refused", "error", 2)
        assert (line["verb"], "no such experiment file" in line["message"]) == ("run", True)

    def test_a_wrong_command_line(self, nmt: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(standard_error.VARIABLE, "json")
        done = nmt("run", "--nothing-like-it")
        assert done.returncode == 2
        assert "No such option: --nothing-like-it" in one(done.stderr, "output", level="error")["message"]


@pytest.mark.drill
@pytest.mark.ray
@pytest.mark.slow
def test_a_run_from_its_start_to_its_end(
    nmt: Command, experiment_file: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (experiment_file.parent / "mlflow.db").write_bytes(database.read_bytes())
    monkeypatch.setenv(standard_error.VARIABLE, "json")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = nmt("run", str(experiment_file), "--json", "--set", "training.max_epochs=1")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    lines = lines_of(done.stderr)
    assert {line["verb"] for line in lines} == {"run"}
    told = [line for line in lines if line["event"] not in ("evaluation", "step")]
    stages = ["stage_started", "stage_finished"] * 4
    assert [line["event"] for line in told] == ["run_started", *stages, "run_finished"]
    assert {line["experiment"] for line in told} == {"ranking"}
    for found, stage in zip(told[2:-1:2], document["stages"], strict=True):
        names = ("stage", "held", "gained", "accepted_step", "steps", "samples", "ended_by", "wall_seconds", "seconds")
        assert {name: found[name] for name in names} == {name: stage[name] for name in names}
        assert (found["tasks"], found["key"]) == (stage["level"], stage["stage_key"])
    last = told[-2]
    for task in document["tasks"]:
        assert last["losses"]["test"][task["task"]] == task["test_loss"]
        assert last["multipliers"].get(task["task"]) == task["multiplier"]
    for name in ("held", "cost", "mlflow_run_id", "tracking_complete"):
        assert told[-1][name] == document[name]


def test_an_error_ends_the_command_in_text_as_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(standard_error.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["nmt", "run", "[nothere].yaml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: no such experiment file: [nothere].yaml")
