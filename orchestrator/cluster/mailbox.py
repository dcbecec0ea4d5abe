"""Events from the first worker to the driver, while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty
from types import TracebackType
from typing import Any

import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.reporter import Event, StageFinished

CLOSING_SECONDS = 120.0
"""Longest that events are waited for which were sent before the end: on a busy machine they may be late."""


class MailboxReporter:
    """The reporter inside a Ray worker: puts events into the driver's queue.

    ``ray.train.report`` is no such channel: it is a barrier and returns only when the controller polls.
    """

    def __init__(self, queue: Queue, chain: int) -> None:
        self._queue = queue
        self._actor: Any = queue.actor
        self._chain = chain

    def report(self, event: Event) -> None:
        """Send an event; a driver that is busy or gone must not hurt the training.

        Only the end of a stage, after which this process may end, is waited for.
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
    """The driver's end: a queue actor, and a thread that hands events to a function, one after the other.

    Args:
        deliver: Called with the number of a chain and each of its events, in the thread.
    """

    def __init__(self, deliver: Callable[[int, Event], None]) -> None:
        self._deliver = deliver
        # On the driver's own node: another one may be lost, with all that is to come.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nmt-mailbox", daemon=True)

    def reporter(self, chain: int = 0) -> MailboxReporter:
        """The end of a chain's workers."""
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
            closing = self._closing.is_set()  # asked first: what is sent before it is set then is in the queue
            try:
                items = self._waiting()
            except Empty:
                if closing:
                    return
                continue
            except Exception:
                return
            for chain, event in items:
                self._deliver(chain, event)

    def _waiting(self) -> list[tuple[int, Event]]:
        """All that has come, together: the actor is slow to answer on a busy machine, and trials are many.

        Raises:
            Empty: Nothing came for a moment.
        """
        first = self._queue.get(timeout=0.2)
        more = self._queue.qsize()  # nobody else takes from it
        return [first, *(self._queue.get_nowait_batch(more) if more else [])]
