"""The live model's network, fed with today's batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.live.columns import LiveColumns


class LiveNetwork(nn.Module):
    """Maps a batch of today's data to the live model's outputs, with its own statistics and in its own precision.

    Args:
        model: The live model.
        columns: Its columns among today's.

    Raises:
        ValueError: The network cannot be built here.
    """

    def __init__(self, model: TrainedModel, columns: LiveColumns) -> None:
        super().__init__()
        self.network = model.build()
        self.columns = columns
        self._precision = model.precision
        for place, ids in enumerate(columns.ids):
            self.register_buffer(f"ids_{place}", ids, persistent=False)

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return task → output."""
        columns = self.columns
        own = replace(
            batch,
            categorical=torch.stack(
                [
                    self.get_buffer(f"ids_{place}")[batch.categorical[:, column].long()]
                    for place, column in enumerate(columns.categorical)
                ],
                1,
            )
            if columns.categorical
            else batch.categorical[:, :0],
            numeric=self._numbers(batch.numeric[:, list(columns.numeric)]),
            packed=batch.packed[:, list(columns.packed)],
        )
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            outputs: Mapping[str, Tensor] = self.network(own)
        return outputs

    def _numbers(self, values: Tensor) -> Tensor:
        wanted = self.columns.logarithms
        if not any(wanted):
            return values
        change = {1: torch.log1p, 0: lambda column: column, -1: torch.expm1}
        return torch.stack([change[how](values[:, column]) for column, how in enumerate(wanted)], 1)
