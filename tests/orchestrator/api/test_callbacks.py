"""Users' hooks: who is called for what, and what an exception in one of them does."""

from __future__ import annotations

from typing import Any

import pytest

import nmt
from nmt.orchestrator.api.callbacks import HOOKS, Callback, Callbacks
from nmt.orchestrator.terminal.output import JsonOutput
from nmt.trainers.records import Candidate
from nmt.trainers.reporter import CheckpointFailed, Evaluated, Event, Progress, StageFinished, StageStarted
from tests._documents import blocks_of
from tests.orchestrator._records import record, verdict


class Log:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def write(self, event: str, message: str, level: str = "info", **fields: Any) -> None:
        self.lines.append((event, level, message))


def events() -> list[Event]:
    candidate = Candidate.__new__(Candidate)  # hooks get it as it is
    return [
        StageStarted(0, 1, "k", ("pay",), {"pay": 1.0}, (), 10),
        Progress(0, 1, ()),
        Evaluated(0, candidate),
        CheckpointFailed(0, 1, "full"),
        StageFinished(record(0, ["pay"]), reused=False),
    ]


def callbacks(*objects: object) -> tuple[Callbacks, Log]:
    log = Log()
    return Callbacks(objects, JsonOutput(log)), log  # type: ignore[arg-type]


class OnlyEnds:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def on_stage_end(self, event: StageFinished) -> None:
        self.seen.append(event)


class All(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[str, Event]] = []

    def on_stage_start(self, event: StageStarted) -> None:
        self.seen.append(("start", event))

    def on_evaluation(self, event: Evaluated) -> None:
        self.seen.append(("evaluation", event))

    def on_stage_end(self, event: StageFinished) -> None:
        self.seen.append(("end", event))


class Broken:
    def on_stage_start(self, event: StageStarted) -> None:
        raise ValueError("no space\nat all")


def test_each_hook_gets_its_events_in_order() -> None:
    every, ends = All(), OnlyEnds()
    hooks, log = callbacks(every, ends)
    given = events()
    for event in given:
        hooks.handle(event)
    assert every.seen == [("start", given[0]), ("evaluation", given[2]), ("end", given[4])]
    assert ends.seen == [given[4]]
    assert log.lines == []


def test_an_exception_is_reported_and_the_others_are_called() -> None:
    every = All()
    hooks, log = callbacks(Broken(), every)
    hooks.handle(events()[0])
    assert [kind for kind, _ in every.seen] == ["start"]
    assert log.lines == [
        ("callback_failed", "warning", "Broken.on_stage_start failed: ValueError: no space; training goes on")
    ]


class Misspelt:
    def on_stage_begin(self, event: object) -> None: ...


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (object(), "give an object with one of on_stage_start, on_evaluation, on_stage_end"),
        (Misspelt(), "Misspelt has an unknown hook on_stage_begin"),
        (All, "give an object"),
        (print, "give an object"),
    ],
)
def test_an_object_without_hooks_is_refused_before_anything_starts(given: object, message: str) -> None:
    with pytest.raises(nmt.RequestError, match=message):
        nmt.run("nowhere.yaml", callbacks=[given])


def test_the_hook_of_the_page_sends_mail_when_a_guarantee_is_broken() -> None:
    (block,) = blocks_of("orchestrator/README.md", "python")
    sent: list[str] = []
    names: dict[str, Any] = {"nmt": nmt, "send_mail": sent.append}
    exec(compile(block.text, "orchestrator/README.md", "exec"), names)
    hooks, log = callbacks(names["Alarm"]())
    for held in (True, False):
        verdicts = [verdict("pay", 0.0 if held else 9.0, 1.0)]
        for event in (*events()[:-1], StageFinished(record(1, ["amount"], ["pay"], verdicts=verdicts), reused=False)):
            hooks.handle(event)
    assert sent == ["stage 2: a guarantee is broken"]
    assert log.lines == []


def test_the_base_class_has_every_hook_and_does_nothing() -> None:
    hooks, log = callbacks(Callback())
    for event in events():
        hooks.handle(event)
    assert log.lines == []
    assert {name for name in dir(Callback) if name.startswith("on_")} == set(HOOKS.values())
