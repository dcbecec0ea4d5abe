"""Reading ahead: the next items are made in threads while the current one is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 2
"""Items made at the same time: one core decodes less than a fast step consumes."""

T = TypeVar("T")


def prefetch(makers: Iterator[Callable[[], T]]) -> Generator[T]:
    """Call the makers in threads, :data:`THREADS` items ahead of the consumer, and yield their results in order.

    An exception of a maker is raised here, at the position of its item. The consumer may stop early; items in the
    making are then dropped.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
    pending: deque[Future[T]] = deque(pool.submit(maker) for maker in islice(makers, THREADS))
    try:
        while pending:
            pending[0].result()
            pending.extend(pool.submit(maker) for maker in islice(makers, 1))
            yield pending.popleft().result()  # no local variable: it would keep an item that the consumer dropped
    finally:
        # No waiting: this may run in the garbage collector, on any thread, even one of the pool's.
        pool.shutdown(wait=False, cancel_futures=True)
