"""Mixture of experts: experts for all tasks, weighted by gates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.features import Features
from nmt.trainers.models.gates import Gates
from nmt.trainers.models.mixture import mixture
from nmt.trainers.models.perceptrons import Perceptrons
from nmt.trainers.models.sizes import check_size, check_units
from nmt.trainers.models.towers import Towers
from nmt.trainers.spec.task import Task


class MixtureOfExperts(nn.Module):
    """Base class of MMoE and OMoE, which differ in the number of gates.

    The defaults are the sizes of the No More Tuning paper. The paper does not state the number of experts; 8 is the
    number of Ma et al. 2018 and of Su et al. 2024, whose set-up the paper follows.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        embedding_dim: Width of an embedding.
        experts: Number of experts.
        expert_units: Widths of an expert's layers.
        gate_units: Widths of a gate's hidden layers; an empty list makes the gate linear.
        tower_units: Widths of a tower's hidden layers.

    Raises:
        ValueError: A size is out of range.
    """

    one_gate: bool

    def __init__(
        self,
        schema: Schema,
        tasks: Sequence[Task],
        embedding_dim: int = 16,
        experts: int = 8,
        expert_units: Sequence[int] = (512, 512, 512),
        gate_units: Sequence[int] = (128, 64),
        tower_units: Sequence[int] = (128, 64),
    ) -> None:
        super().__init__()
        check_size("experts", experts)
        check_units("expert_units", expert_units, layers=1)
        check_units("gate_units", gate_units)
        check_units("tower_units", tower_units)
        self._tasks = tuple(task.name for task in tasks)
        self.features = Features(schema, embedding_dim)
        self.experts = Perceptrons(experts, self.features.width, expert_units)
        self.gates = Gates(1 if self.one_gate else len(tasks), self.features.width, gate_units, experts)
        self.towers = Towers(len(tasks), expert_units[-1], tower_units)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return task → logit, shape ``(rows,)``."""
        features = self.features(batch)
        mixed = mixture(self.gates(features), self.experts(features))
        logits = self.towers(mixed.squeeze(0) if self.one_gate else mixed)
        return dict(zip(self._tasks, logits.unbind(0), strict=True))
