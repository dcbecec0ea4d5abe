"""Errors of the drill."""

from __future__ import annotations


class DrillError(Exception):
    """A run did not end, or a fault could not be caused as intended."""


class SkippedError(Exception):
    """A fault cannot be caused on this machine."""
