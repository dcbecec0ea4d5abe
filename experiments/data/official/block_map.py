"""Maps of a function over blocks: one after the other, or in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

R = TypeVar("R")


class Map(Protocol):
    """Applies a pure function to items, in this process or in others with access to the same files."""

    def __call__(self, step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results in the order of the items.

        Args:
            step: Name of the step, shown to people.
            function: Function to apply; it can be pickled.
            items: Its arguments; they can be pickled.
        """


def in_turn(step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Apply the function to one item after the other: a :class:`Map` without other processes."""
    return map(function, items)
