"""PLE: layers of task-specific and shared experts (Tang et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.extraction import Extraction
from nmt.trainers.models.features import Features
from nmt.trainers.models.sizes import check_size, check_units
from nmt.trainers.models.towers import Towers
from nmt.trainers.spec.task import Task


class PLE(nn.Module):
    """Progressive layered extraction (Tang et al. 2020, section 4.2): features → layers → one tower per task.

    Each layer (:class:`~nmt.trainers.models.extraction.Extraction`) returns one state per task and one shared state. In
    the last layer a task reads only its own specific experts and the shared experts, so its loss has no gradient with
    respect to another task's specific experts and gate in that layer. Through the shared state, its loss does have a
    gradient with respect to another task's specific experts in earlier layers, and to another task's gates in all but
    the last two layers.

    With one layer and no specific experts the model is MMoE. Without shared experts, tasks share only the embeddings.

    The defaults are the sizes of the No More Tuning paper. The paper does not state the number of layers; 1 (also known
    as CGC) is that of Su et al. 2024, whose set-up the paper follows.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        embedding_dim: Width of an embedding.
        layers: Number of layers.
        specific_experts: Number of experts of each task in each layer.
        shared_experts: Number of experts of all tasks in each layer.
        expert_units: Widths of an expert's layers.
        gate_units: Widths of a gate's hidden layers; an empty list makes the gate linear.
        tower_units: Widths of a tower's hidden layers.

    Raises:
        ValueError: A size is out of range, or there are no experts.
    """

    def __init__(
        self,
        schema: Schema,
        tasks: Sequence[Task],
        embedding_dim: int = 16,
        layers: int = 1,
        specific_experts: int = 1,
        shared_experts: int = 1,
        expert_units: Sequence[int] = (512, 512, 512),
        gate_units: Sequence[int] = (128, 64),
        tower_units: Sequence[int] = (128, 64),
    ) -> None:
        super().__init__()
        check_size("layers", layers)
        check_size("specific_experts", specific_experts, least=0)
        check_size("shared_experts", shared_experts, least=0)
        if specific_experts + shared_experts == 0:
            raise ValueError("specific_experts and shared_experts are both 0; at least one of them must be 1 or more")
        check_units("expert_units", expert_units, layers=1)
        check_units("gate_units", gate_units)
        check_units("tower_units", tower_units)
        self._tasks = tuple(task.name for task in tasks)
        self.features = Features(schema, embedding_dim)
        self.layers = nn.ModuleList(
            Extraction(
                len(tasks),
                expert_units[-1] if layer else self.features.width,
                expert_units,
                gate_units,
                specific_experts,
                shared_experts,
                last=layer == layers - 1,
            )
            for layer in range(layers)
        )
        self.towers = Towers(len(tasks), expert_units[-1], tower_units)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return task → logit, shape ``(rows,)``."""
        task_states = shared_state = self.features(batch)
        for layer in self.layers:
            task_states, shared_state = layer(task_states, shared_state)
        return dict(zip(self._tasks, self.towers(task_states).unbind(0), strict=True))
