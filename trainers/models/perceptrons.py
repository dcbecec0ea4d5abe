"""Several multilayer perceptrons, evaluated with one batched matrix product per layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Perceptrons(nn.Module):
    r"""Perceptrons of the same widths; no Python loop over them.

    Perceptron c computes :math:`h_{l+1} = \mathrm{ReLU}(h_l W_{l,c} + b_{l,c})`. If ``outputs`` is given, a last layer
    computes :math:`h_L W_{L,c} + b_{L,c}` without ReLU.

    Args:
        count: Number of perceptrons.
        inputs: Width of the input.
        units: Widths of the layers with ReLU.
        outputs: Width of a last layer without ReLU; ``None`` for no such layer.

    Attributes:
        weights: W of each layer, shape ``(count, inputs, outputs)`` of that layer.
        biases: b of each layer, shape ``(count, 1, outputs)``.
    """

    def __init__(self, count: int, inputs: int, units: Sequence[int], outputs: int | None = None) -> None:
        super().__init__()
        widths = [inputs, *units] if outputs is None else [inputs, *units, outputs]
        self._hidden = len(units)
        self.weights = nn.ParameterList(torch.empty(count, a, b) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.empty(count, 1, b) for b in widths[1:])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])  # as in nn.Linear
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs, shape ``(count, rows, width of the last layer)``.

        Args:
            inputs: One input for all, shape ``(rows, inputs)``, or one per perceptron, ``(count, rows, inputs)``.
        """
        hidden = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight) if hidden.dim() == 3 else _matmul_all(hidden, weight) + bias
            if layer < self._hidden:
                hidden = functional.relu(hidden)
        return hidden


def _matmul_all(inputs: Tensor, weight: Tensor) -> Tensor:
    """Multiply one input by several matrices, as one product with the concatenated matrices.

    One wide product is faster than many narrow ones. Its backward pass sums the input's gradient inside the product; a
    batched product would allocate one gradient of the input per matrix.

    Args:
        inputs: Shape ``(rows, inputs)``.
        weight: Shape ``(count, inputs, outputs)``.

    Returns:
        Shape ``(count, rows, outputs)``.
    """
    count, _, outputs = weight.shape
    wide = weight.transpose(0, 1).flatten(1)
    return (inputs @ wide).view(-1, count, outputs).transpose(0, 1)
