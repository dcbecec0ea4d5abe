"""Gates: the weights of experts, per row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nmt.trainers.models.perceptrons import Perceptrons


class Gates(Perceptrons):
    r"""ReLU perceptrons that end in a softmax over experts; no Python loop over gates.

    Gate t maps a row x to the weights :math:`w_t(x) = \mathrm{softmax}(W_t h_t(x) + b_t)`. Without hidden layers,
    h(x) = x, and the gate is the linear gate of Ma et al. 2018, equation 8, with a bias.

    Args:
        gates: Number of gates.
        inputs: Width of a gate's input.
        units: Widths of the hidden layers.
        experts: Number of experts.
    """

    def __init__(self, gates: int, inputs: int, units: Sequence[int], experts: int) -> None:
        super().__init__(gates, inputs, units, outputs=experts)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return weights that sum to 1 over experts, shape ``(gates, rows, experts)``.

        Args:
            inputs: One input for all gates, shape ``(rows, inputs)``, or one per gate, ``(gates, rows, inputs)``.
        """
        return super().forward(inputs).softmax(2)
