"""Random labels of rows that lie in lists."""

from __future__ import annotations

import math

import torch
from torch import Tensor

nan = math.nan

LENGTHS = (4, 1, 7, 3)

ROWS = sum(LENGTHS)


def random_labels(tasks: int, kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(ROWS, tasks, generator=generator)
    kinds = {"binary": values > 0, "real": (values * 2).round(), "classes": (values * 2).round().clamp(-1, 2) + 1}
    labels = kinds[kind].float()  # real ones with ties; four classes
    labels[torch.rand(ROWS, tasks, generator=generator) < 0.2] = nan
    return labels
