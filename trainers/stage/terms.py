"""What the method of a stage balances: losses of single tasks, or of a task and those that stay in the mix."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.trainers.spec.stage_spec import StageSpec


class Terms:
    r"""Maps the losses of a stage's tasks to the terms that its method balances.

    The protected tasks come first, one term each. Each of the t tasks j of the level is a term
    :math:`\ell_j + \frac{1}{t} \sum_i \alpha \ell_i` over the tasks i of later levels: the terms of the level add up to
    the objective :math:`L_k + \alpha \sum_i L_i`, whatever balances them, and later tasks have no say of their own in
    an aggregator of gradients. In the joint start every task is a term; where a live model's limits hold in it, the
    weighted sum is one term.

    Args:
        spec: The stage.
        device: Where losses are.
    """

    def __init__(self, spec: StageSpec, device: torch.device) -> None:
        self._matrix: Tensor | None = None
        protected, level = len(spec.protected), len(spec.level)
        if spec.is_joint:
            self.count = protected + 1 if protected else len(spec.tasks)
        else:
            self.count = protected + level
        place = {task.name: column for column, task in enumerate(spec.tasks)}
        objective = [place[task.name] for task in spec.objective]
        if self.count == len(spec.tasks) and not (level and spec.later) and min(objective) >= protected:
            return  # every task is a term
        weights = torch.tensor(spec.weights, dtype=torch.float64)
        matrix = torch.eye(self.count, len(spec.tasks), dtype=torch.float64)
        matrix[protected:] = 0.0
        if spec.is_joint:
            matrix[protected, objective] = weights
        for row, column in enumerate(objective[:level], protected):
            matrix[row, column] = 1.0
            matrix[row, objective[level:]] = weights[level:] / level
        self._matrix = matrix.to(device)

    def __call__(self, losses: Tensor) -> Tensor:
        """The terms, shape ``(count,)``.

        Args:
            losses: Losses of the stage's tasks, shape ``(tasks,)``.
        """
        return losses if self._matrix is None else self._matrix.to(losses.dtype) @ losses
