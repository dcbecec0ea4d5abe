"""Towers: one small multilayer perceptron per task, evaluated with batched matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nmt.trainers.models.perceptrons import Perceptrons


class Towers(Perceptrons):
    """ReLU perceptrons with one logit each; no Python loop over tasks.

    Args:
        tasks: Number of towers.
        inputs: Width of a tower's input.
        units: Widths of the hidden layers.
    """

    def __init__(self, tasks: int, inputs: int, units: Sequence[int]) -> None:
        super().__init__(tasks, inputs, units, outputs=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, shape ``(tasks, rows)``.

        Args:
            inputs: One input for all towers, shape ``(rows, inputs)``, or one per tower, ``(tasks, rows, inputs)``.
        """
        return super().forward(inputs).squeeze(2)
