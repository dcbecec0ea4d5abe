"""How a function is applied to blocks: one after the other, or side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

R = TypeVar("R")


class Map(Protocol):
    """Applies a pure function to items, in this process or in others that see the same files."""

    def __call__(self, step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results, in the order of the items.

        Args:
            step: Name of the step, for people.
            function: What to do with each; it can be pickled.
            items: Arguments; they can be pickled.
        """


def in_turn(step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """A :class:`Map` without other processes."""
    return map(function, items)
