"""Towers: one small multilayer perceptron per task, all of them in one batched matrix product."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainers.models.perceptrons import Perceptrons


class Towers(Perceptrons):
    """Perceptrons with ReLU that end in one logit each; no Python loop over tasks.

    Args:
        tasks: Number of towers.
        inputs: Width of a tower's input.
        units: Widths of the hidden layers.
    """

    def __init__(self, tasks: int, inputs: int, units: Sequence[int]) -> None:
        super().__init__(tasks, inputs, units, outputs=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape ``(tasks, rows)``.

        Args:
            inputs: One input for all towers, shape ``(rows, inputs)``, or one each, ``(tasks, rows, inputs)``.
        """
        return super().forward(inputs).squeeze(2)
