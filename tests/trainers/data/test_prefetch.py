from __future__ import annotations

import threading
from functools import partial

import pytest

from nmt.trainers.data.prefetch import THREADS, prefetch


def test_items_keep_their_order() -> None:
    items = [3, None, 0, "x", *range(20)]
    assert list(prefetch(lambda item=item: item for item in items)) == items
    assert list(prefetch(iter([]))) == []


def test_items_are_made_ahead_in_other_threads() -> None:
    made: list[int] = []
    threads = set()
    ahead = threading.Event()

    def make(number: int) -> int:
        made.append(number)
        threads.add(threading.current_thread())
        if len(made) == 2 + THREADS:
            ahead.set()
        return number

    items = prefetch(partial(make, number) for number in range(9))
    assert next(items) == 0
    assert next(items) == 1
    assert ahead.wait(10)
    assert sorted(made) == list(range(2 + THREADS))
    assert list(items) == list(range(2, 9))
    assert threading.current_thread() not in threads


def test_slow_items_keep_their_position() -> None:
    second = threading.Event()

    def first() -> int:
        assert second.wait(10)
        return 1

    def later() -> int:
        second.set()
        return 2

    assert list(prefetch(iter([first, later]))) == [1, 2]


def test_an_error_is_raised_at_its_position() -> None:
    def damaged() -> int:
        raise ValueError("damaged")

    items = prefetch(iter([lambda: 1, damaged, lambda: 3]))
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_a_consumer_can_stop_early() -> None:
    made: list[int] = []
    items = prefetch(partial(made.append, number) for number in range(1000))
    next(items)
    items.close()
    assert len(made) <= 1 + THREADS


def test_dropped_items_are_freed() -> None:
    gone = threading.Event()

    class Item:
        def __del__(self) -> None:
            gone.set()

    items = prefetch(Item for _ in range(9))
    next(items)
    assert gone.wait(10)
