"""Tracking's writer: nobody waits for it, and it says when it could not write."""

from __future__ import annotations

import threading
import time
from typing import Any

from orchestrator.tracking.writer import Writer
from tests.orchestrator._tracked import Project


def test_a_writer_does_not_wait(project: Project) -> None:
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


def test_a_writer_that_is_closed_in_vain_says_so() -> None:
    def write(items: Any) -> None:
        raise ConnectionRefusedError("nobody there")

    writing: Writer[int] = Writer(write, lambda error: True)
    writing.submit(1)
    assert not writing.close(60, 0.05)
    assert isinstance(writing.failure, ConnectionRefusedError)


def test_a_writer_that_is_closed_while_it_catches_up_is_waited_for() -> None:
    """The store is back, and takes longer for what has gathered than anybody would wait for one that is away."""
    tries: list[int] = []
    failed = threading.Event()

    def write(items: Any) -> None:
        tries.append(len(items))
        if len(tries) == 1:
            raise ConnectionRefusedError("nobody there yet")
        time.sleep(0.5)

    def passes(error: Exception) -> bool:
        failed.set()
        return True

    writing: Writer[int] = Writer(write, passes)
    writing.submit(1)
    assert failed.wait(60)
    assert writing.close(60, 0.05)
    assert tries == [1, 1]
    assert writing.failure is None
