"""What happens inside a worker: the algorithm, models, losses, data feed, stage loop, checkpoints.

``from trainers import Multipliers`` needs torch only, and serves in anybody's training loop.
"""

from trainers.multipliers import Multipliers

__all__ = ["Multipliers"]
