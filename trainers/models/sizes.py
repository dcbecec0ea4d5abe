"""Sizes of a model's parts, as options give them."""

from __future__ import annotations

from collections.abc import Sequence


def check_size(name: str, size: int, least: int = 1) -> None:
    """Refuse what is no size.

    Args:
        name: The option.
        size: What it holds.
        least: Smallest allowed.

    Raises:
        ValueError: ``size`` is no whole number, or smaller than ``least``.
    """
    if not _is_size(size, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, found {size!r}")


def check_units(name: str, units: Sequence[int], layers: int = 0) -> None:
    """Refuse what are no widths of layers.

    Args:
        name: The option.
        units: What it holds.
        layers: Fewest layers allowed.

    Raises:
        ValueError: ``units`` is no list of whole numbers of at least 1, or has fewer than ``layers``.
    """
    listed = isinstance(units, Sequence) and not isinstance(units, str)
    if not listed or len(units) < layers or not all(_is_size(width, 1) for width in units):
        fewest = f", {layers} or more," if layers else ""
        raise ValueError(f"{name} must list widths of layers{fewest} as whole numbers of at least 1, found {units!r}")


def _is_size(size: object, least: int) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= least
