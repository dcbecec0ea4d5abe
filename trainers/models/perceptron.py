"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def perceptron(inputs: int, units: Sequence[int]) -> nn.Sequential:
    """Build linear layers, each followed by ReLU.

    Args:
        inputs: Width of the input.
        units: Widths of the layers; an empty list makes the identity.
    """
    layers: list[nn.Module] = []
    for width, next_width in pairwise([inputs, *units]):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*layers)
