"""What runs inside a worker: the algorithm, models, losses, data feed, stage loop, checkpoints.

``from trainers import Multipliers`` needs only torch, and works in any training loop. That line imports torch, not the
package itself: processes that prepare data import the package too, and torch would take two thirds of their memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.trainers.multipliers import Multipliers

__all__ = ["Multipliers"]


def __getattr__(name: str) -> Any:
    if name != "Multipliers":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nmt.trainers.multipliers import Multipliers

    return Multipliers
