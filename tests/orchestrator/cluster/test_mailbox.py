"""The mailbox between workers and driver, with a queue whose answers are late."""

from __future__ import annotations

import queue
from collections.abc import Callable
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest

from nmt.orchestrator.cluster import mailbox
from nmt.orchestrator.cluster.mailbox import Mailbox
from nmt.trainers.reporter import Event, Progress


class Queue:
    """Stands in for Ray's queue, in this process."""

    def __init__(self, **_: Any) -> None:
        self.items: queue.Queue[Any] = queue.Queue()
        self.actor = None
        self.calls = 0
        self.before: Callable[[], None] = lambda: None

    def get(self, timeout: float) -> Any:
        self.calls += 1
        self.before()
        return self.items.get(timeout=timeout)

    def qsize(self) -> int:
        return self.items.qsize()

    def get_nowait_batch(self, number: int) -> list[Any]:
        return [self.items.get_nowait() for _ in range(number)]


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "Queue", Queue)
    monkeypatch.setattr(mailbox.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "0" * 56))


def test_events_sent_before_the_end_are_delivered_despite_late_answers() -> None:
    heard: list[tuple[int, Event]] = []
    events = [(number, Progress(0, step, ())) for step in range(3) for number in range(2)]
    box = Mailbox(lambda number, event: heard.append((number, event)))

    def late() -> None:
        """The answer "empty" was true when it was given, and arrives after the end."""
        if box._queue.calls == 1:
            box._closing.wait()
            raise Empty

    box._queue.before = late
    with box:
        for event in events:
            box._queue.items.put(event)
    assert heard == events
    assert not box._thread.is_alive()


def test_waiting_events_are_fetched_together() -> None:
    heard: list[tuple[int, Event]] = []
    box = Mailbox(lambda number, event: heard.append((number, event)))
    for step in range(100):
        box._queue.items.put((0, Progress(0, step, ())))
    with box:
        pass
    assert [event.step for _, event in heard if isinstance(event, Progress)] == list(range(100))
    assert box._queue.calls <= 3  # one call for all, one that finds no more, perhaps one before the first event


def test_a_lost_queue_ends_the_thread() -> None:
    box = Mailbox(lambda *_: None)

    def gone() -> None:
        raise ConnectionError("the actor died")

    box._queue.before = gone
    with box:
        box._thread.join(10)
        assert not box._thread.is_alive()
