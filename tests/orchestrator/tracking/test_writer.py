"""The background writer: it never blocks, and reports what it could not write."""

from __future__ import annotations

import threading
import time
from typing import Any

from nmt.orchestrator.tracking.writer import Writer
from tests.orchestrator._tracked import Project


def test_submit_does_not_block(project: Project) -> None:
    go_on, written = threading.Event(), []

    def write(items: Any) -> None:
        assert go_on.wait(60)
        written.extend(items)

    writing: Writer[int] = Writer(write, lambda error: True)
    for number in range(1000):
        writing.submit(number)
    assert written == []
    go_on.set()
    assert writing.close(60, 60)
    assert written == list(range(1000))


def test_closing_without_success_is_reported() -> None:
    def write(items: Any) -> None:
        raise ConnectionRefusedError("nobody there")

    writing: Writer[int] = Writer(write, lambda error: True)
    writing.submit(1)
    assert not writing.close(60, 0.05)
    assert isinstance(writing.failure, ConnectionRefusedError)


def test_closing_waits_while_the_writer_catches_up() -> None:
    """A store that is back takes longer for the gathered items than the patience for one that is away."""
    tries: list[int] = []
    failed = threading.Event()

    def write(items: Any) -> None:
        tries.append(len(items))
        if len(tries) == 1:
            raise ConnectionRefusedError("nobody there yet")
        time.sleep(0.5)

    def is_transient(error: Exception) -> bool:
        failed.set()
        return True

    writing: Writer[int] = Writer(write, is_transient)
    writing.submit(1)
    assert failed.wait(60)
    assert writing.close(60, 0.05)
    assert tries == [1, 1]
    assert writing.failure is None
