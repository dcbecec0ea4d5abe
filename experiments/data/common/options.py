"""Checks of options, which come from YAML or a command line and may be anything."""

from __future__ import annotations


def is_whole_number(value: object, least: int) -> bool:
    """Return whether a value is an integer of at least ``least``; ``True`` and ``False`` are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_min_count(value: object) -> None:
    """Check the number of training rows that a token needs to have an id of its own.

    Raises:
        ValueError: It is no integer of at least 1.
    """
    if not is_whole_number(value, 1):
        raise ValueError(f"min_count is {value!r}; give 1 (every token has an id) or more")
