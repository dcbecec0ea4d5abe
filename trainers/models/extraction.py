"""Extraction: one layer of PLE, with gated experts of each task and of all tasks (Tang et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nmt.trainers.models.gates import Gates
from nmt.trainers.models.mixture import mixture
from nmt.trainers.models.perceptrons import Perceptrons


class Extraction(nn.Module):
    r"""Customised gate control: every task mixes its own experts with the shared ones (Tang et al. 2020, section 4.1).

    The previous layer provides task states :math:`x_t` and a shared state :math:`x_0`; in the first layer all of them
    are the features. With specific experts h_{tj} and shared experts g_j, the new states are

    .. math::
        y_t = \sum_j w_{tj}(x_t)\, h_{tj}(x_t) + \sum_j w'_{tj}(x_t)\, g_j(x_0), \qquad
        y_0 = \sum_t \sum_j v_{tj}(x_0)\, h_{tj}(x_t) + \sum_j v'_j(x_0)\, g_j(x_0),

    where the gates' weights (w_t, w'_t) and (v, v') each sum to 1. The shared state depends on the specific experts of
    all tasks, and so does every state of the next layer that reads it.

    Args:
        tasks: Number of tasks.
        inputs: Width of the incoming states.
        expert_units: Widths of an expert's layers.
        gate_units: Widths of a gate's hidden layers.
        specific_experts: Number of experts of each task; may be 0.
        shared_experts: Number of experts of all tasks; may be 0.
        last: Whether this is the last layer. The layer computes a shared state, and has a gate for it, only if another
            layer follows and there are shared experts to read it.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        expert_units: Sequence[int],
        gate_units: Sequence[int],
        specific_experts: int,
        shared_experts: int,
        last: bool,
    ) -> None:
        super().__init__()
        self._tasks = tasks
        self._split = (specific_experts, shared_experts)
        specific, mixed = tasks * specific_experts, specific_experts + shared_experts
        self.specific_experts = Perceptrons(specific, inputs, expert_units) if specific_experts else None
        self.shared_experts = Perceptrons(shared_experts, inputs, expert_units) if shared_experts else None
        self.gates = Gates(tasks, inputs, gate_units, mixed)
        needs_shared_state = shared_experts and not last
        self.shared_gate = Gates(1, inputs, gate_units, specific + shared_experts) if needs_shared_state else None

    def forward(self, task_states: Tensor, shared_state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states after this layer.

        Args:
            task_states: x_t, shape ``(tasks, rows, inputs)``, or ``(rows, inputs)`` if all tasks have the same state.
            shared_state: x_0, shape ``(rows, inputs)``.

        Returns:
            y_t, shape ``(tasks, rows, units)``, and y_0, shape ``(rows, units)``; x_0 when there is no shared gate.
        """
        own_weights, shared_weights = self.gates(task_states).split(self._split, 2)
        of_task: list[Tensor] = []
        experts: list[Tensor] = []
        if self.specific_experts is not None:
            specific = self.specific_experts(self._for_each_expert(task_states))
            per_task = specific.unflatten(0, (self._tasks, -1))
            of_task.append(torch.einsum("tre,teru->tru", own_weights, per_task))
            experts.append(specific)
        if self.shared_experts is not None:
            shared = self.shared_experts(shared_state)
            of_task.append(mixture(shared_weights, shared))
            experts.append(shared)
        if self.shared_gate is not None:
            weights = self.shared_gate(shared_state).split([len(outputs) for outputs in experts], 2)
            shared_state = _sum([mixture(*part) for part in zip(weights, experts, strict=True)]).squeeze(0)
        return _sum(of_task), shared_state

    def _for_each_expert(self, task_states: Tensor) -> Tensor:
        """Repeat each task's state for its specific experts, task by task; a view if a task has one expert."""
        if task_states.dim() == 2:
            return task_states
        return task_states.unsqueeze(1).expand(-1, self._split[0], -1, -1).flatten(0, 1)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of one or two tensors."""
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
