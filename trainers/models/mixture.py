"""Weighted mixture of expert outputs."""

from __future__ import annotations

import torch
from torch import Tensor


def mixture(weights: Tensor, experts: Tensor) -> Tensor:
    r"""Return each gate's mixture :math:`y_{tr} = \sum_e w_{tre} h_{er}` of the same experts, for each row r.

    Args:
        weights: w, shape ``(gates, rows, experts)``.
        experts: h, outputs of the experts, shape ``(experts, rows, units)``.

    Returns:
        y, shape ``(gates, rows, units)``. No tensor of size gates × experts × rows × units is allocated.
    """
    return torch.einsum("tre,eru->tru", weights, experts)
