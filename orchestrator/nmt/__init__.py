"""No More Tuning: multi-task training by priority.

``from nmt import Multipliers`` needs only torch, and works in any training loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.trainers.multipliers import Multipliers as Multipliers

PLACES = {"Multipliers": "nmt.trainers.multipliers"}
"""Public name → its module, which is imported when the name is first used."""

__all__ = ["Multipliers"]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
