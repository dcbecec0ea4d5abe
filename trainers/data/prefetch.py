"""Making the next items while the last one is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

THREADS = 2
"""Items made at the same time: one core decodes less than a fast step consumes."""

T = TypeVar("T")


def prefetched(makers: Iterator[Callable[[], T]]) -> Generator[T]:
    """What the makers make, in their order: :data:`THREADS` items ahead of the consumer, each in a thread.

    What a maker raises is raised here, in its place. A consumer may stop early: the items that are being made are then
    dropped.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
    coming: deque[Future[T]] = deque(pool.submit(maker) for maker in islice(makers, THREADS))
    try:
        while coming:
            coming[0].result()
            coming.extend(pool.submit(maker) for maker in islice(makers, 1))
            yield coming.popleft().result()  # nothing here may hold what the consumer lets go
    finally:
        # Without waiting: this may run in a collection of garbage, on any thread, one of these included.
        pool.shutdown(wait=False, cancel_futures=True)
