"""The input layer of every model: a batch's columns as one dense vector per row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.sizes import check_size


class Features(nn.Module):
    """Embeds categorical columns, standardises numeric ones, unpacks packed bits, and concatenates.

    Mean and deviation are part of the state: who starts from a model's parameters takes its standardisation over.

    All categorical columns share one embedding matrix, each at its own offset, so a batch takes one look-up. A missing
    or infinite number becomes 0, the mean after standardisation. The embedding of PAD (id 0) is initialised to zeros.

    Args:
        schema: Columns of the data set.
        embedding_dim: Width of an embedding.

    Raises:
        ValueError: ``embedding_dim`` is out of range, or there is no feature column.
    """

    mean: Tensor
    std: Tensor
    offsets: Tensor
    shifts: Tensor

    def __init__(self, schema: Schema, embedding_dim: int) -> None:
        super().__init__()
        check_size("embedding_dim", embedding_dim)
        sizes = list(schema.categorical.values())
        numeric = schema.numeric.values()
        self.embedding = nn.Embedding(max(1, sum(sizes)), embedding_dim)
        offsets = torch.tensor([0, *sizes[:-1]] if sizes else [], dtype=torch.int64).cumsum(0)
        nn.init.normal_(self.embedding.weight, std=0.05)
        with torch.no_grad():
            self.embedding.weight[offsets] = 0.0
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("mean", torch.tensor([n.mean for n in numeric]))
        self.register_buffer("std", torch.tensor([n.std for n in numeric]))
        self.register_buffer("shifts", torch.arange(7, -1, -1, dtype=torch.uint8), persistent=False)
        self.width = embedding_dim * len(sizes) + len(schema.numeric) + sum(schema.packed.values())
        self._bits = tuple(schema.packed.values())
        if self.width == 0:
            raise ValueError("the data set has no feature column; name categorical, numeric or packed columns")

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, shape ``(rows, width)``."""
        parts: list[Tensor] = []
        if batch.categorical.shape[1]:
            parts.append(self.embedding(batch.categorical + self.offsets).flatten(1))
        if batch.numeric.shape[1]:
            parts.append(torch.nan_to_num((batch.numeric - self.mean) / self.std, nan=0.0, posinf=0.0, neginf=0.0))
        if batch.packed.shape[1]:
            widths = [-(-bits // 8) for bits in self._bits]  # a column's last byte may be padded
            for packed, bits in zip(batch.packed.split(widths, 1), self._bits, strict=True):
                unpacked = ((packed.unsqueeze(-1) >> self.shifts) & 1).flatten(1)[:, :bits]
                parts.append(unpacked.to(self.embedding.weight.dtype))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
