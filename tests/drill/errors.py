"""What can go wrong with the drill itself."""

from __future__ import annotations


class DrillError(Exception):
    """A run did not come to its end, or a fault could not be placed."""


class SkippedError(Exception):
    """A fault cannot be made on this machine."""
