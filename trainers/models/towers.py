"""Towers: one small multilayer perceptron per task, all of them in one batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Towers(nn.Module):
    """Perceptrons with ReLU that end in one logit each; no Python loop over tasks.

    Args:
        tasks: Number of towers.
        inputs: Width of a tower's input.
        units: Widths of the hidden layers.
    """

    def __init__(self, tasks: int, inputs: int, units: Sequence[int]) -> None:
        super().__init__()
        widths = [inputs, *units, 1]
        self.weights = nn.ParameterList(torch.empty(tasks, a, b) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.empty(tasks, 1, b) for b in widths[1:])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])  # as nn.Linear draws them
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape ``(tasks, rows)``.

        Args:
            inputs: One input for all towers, shape ``(rows, inputs)``, or one each, ``(tasks, rows, inputs)``.
        """
        hidden = inputs.expand(self.weights[0].shape[0], -1, -1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = functional.relu(hidden)
        return hidden.squeeze(2)
