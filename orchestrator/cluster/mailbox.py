"""Sends events from the first worker to the driver during a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty
from types import TracebackType
from typing import Any

import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nmt.trainers.reporter import Event, StageFinished

CLOSING_SECONDS = 120.0
"""Longest wait for events that were sent before the end: on a busy machine they arrive late."""


class MailboxReporter:
    """The reporter inside a Ray worker: puts events into the driver's queue.

    ``ray.train.report`` cannot serve: it is a barrier, and returns only when the controller polls.
    """

    def __init__(self, queue: Queue, chain: int) -> None:
        self._queue = queue
        self._actor: Any = queue.actor
        self._chain = chain

    def report(self, event: Event) -> None:
        """Send an event. A driver that is busy or gone must not disturb the training, so errors are dropped.

        Only the end of a stage is sent synchronously, since this process may end after it.
        """
        item = (self._chain, event)
        try:
            if isinstance(event, StageFinished):
                self._queue.put(item, timeout=10)
            else:
                self._actor.put_nowait.remote(item)
        except Exception:
            return


class Mailbox:
    """The driver's end: a queue actor, and a thread that passes events to a function, one at a time.

    Args:
        deliver: Called in the thread with the number of a chain and each of its events.
    """

    def __init__(self, deliver: Callable[[int, Event], None]) -> None:
        self._deliver = deliver
        # On the driver's own node: with another node the whole queue could be lost.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nmt-mailbox", daemon=True)

    def reporter(self, chain: int = 0) -> MailboxReporter:
        """Return the reporter for a chain's workers."""
        return MailboxReporter(self._queue, chain)

    def __enter__(self) -> Mailbox:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(timeout=CLOSING_SECONDS)

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()  # read before the queue, which then has everything sent before the end
            try:
                items = self._drain()
            except Empty:
                if closing:
                    return
                continue
            except Exception:
                return
            for chain, event in items:
                self._deliver(chain, event)

    def _drain(self) -> list[tuple[int, Event]]:
        """Take all events in the queue at once: with many trials a call per event would be too slow.

        Raises:
            Empty: The queue stayed empty for 0.2 seconds.
        """
        first = self._queue.get(timeout=0.2)
        more = self._queue.qsize()  # exact, since this is the only consumer
        return [first, *(self._queue.get_nowait_batch(more) if more else [])]
