"""A model with its data and its losses: what every part of a stage works with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nmt.trainers.data.feed import Feed
from nmt.trainers.losses.task_losses import TaskLosses


@dataclass(frozen=True)
class Learner:
    """A model with its data and its losses, on one worker.

    Attributes:
        model: Maps a batch to task → output; its parameters change while a stage is trained.
        feed: This worker's part of the data.
        losses: The losses of all tasks of the chain.
    """

    model: nn.Module
    feed: Feed
    losses: TaskLosses

    @property
    def device(self) -> torch.device:
        """The device that holds the model."""
        return next(self.model.parameters()).device

    def trainable(self) -> list[nn.Parameter]:
        """Parameters that take part in the present stage."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]
