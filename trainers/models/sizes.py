"""Checks of the sizes in a model's options."""

from __future__ import annotations

from collections.abc import Sequence


def check_size(name: str, size: int, least: int = 1) -> None:
    """Check a size.

    Args:
        name: Name of the option.
        size: Its value.
        least: Smallest allowed value.

    Raises:
        ValueError: ``size`` is not an integer, or is smaller than ``least``.
    """
    if not _is_size(size, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, found {size!r}")


def check_units(name: str, units: Sequence[int], layers: int = 0) -> None:
    """Check the widths of layers.

    Args:
        name: Name of the option.
        units: Its value.
        layers: Fewest layers allowed.

    Raises:
        ValueError: ``units`` is not a list of integers of at least 1, or is shorter than ``layers``.
    """
    listed = isinstance(units, Sequence) and not isinstance(units, str)
    if not listed or len(units) < layers or not all(_is_size(width, 1) for width in units):
        fewest = f", {layers} or more," if layers else ""
        raise ValueError(f"{name} must list widths of layers{fewest} as whole numbers of at least 1, found {units!r}")


def _is_size(size: object, least: int) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= least
