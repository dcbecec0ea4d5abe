"""Gates: how much each expert counts, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainers.models.perceptrons import Perceptrons


class Gates(Perceptrons):
    r"""Perceptrons with ReLU that end in a softmax over experts; no Python loop over gates.

    Gate t gives a row x the weights :math:`w_t(x) = \mathrm{softmax}(W_t h_t(x) + b_t)`. Without hidden layers,
    h(x) = x, it is the linear gate of Ma et al. 2018, equation 8, with a bias.

    Args:
        gates: Number of gates.
        inputs: Width of a gate's input.
        units: Widths of the hidden layers.
        experts: Number of experts that a gate weighs.
    """

    def __init__(self, gates: int, inputs: int, units: Sequence[int], experts: int) -> None:
        super().__init__(gates, inputs, units, outputs=experts)

    def forward(self, inputs: Tensor) -> Tensor:
        """Weights that sum to 1 over experts, shape ``(gates, rows, experts)``.

        Args:
            inputs: One input for all gates, shape ``(rows, inputs)``, or one each, ``(gates, rows, inputs)``.
        """
        return super().forward(inputs).softmax(2)
