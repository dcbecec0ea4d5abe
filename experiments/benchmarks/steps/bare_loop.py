"""The rival: a hand-written loop in PyTorch that trains a weighted sum of losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from nmt.experiments.benchmarks.steps.problem import Problem, fixed_weights, parameter_groups
from nmt.trainers.data.batch import Batch


class BareLoop:
    """A minimal training loop: binary cross-entropy, and Adam with weight decay on the embeddings.

    Rows are in memory, in a new permutation each epoch. There are no missing labels, no multipliers, no records except
    a running sum of the losses, and no checks for finite numbers. Model and data are those of our side.

    Args:
        problem: What to train.
        order: Function epoch → permutation of the rows; ``None`` for random ones.
        rank: Rank of this process. Each process trains on its part of every global batch, and
            ``DistributedDataParallel`` averages the gradients.
        workers: Number of processes.
    """

    def __init__(
        self, problem: Problem, order: Callable[[int], Tensor] | None = None, rank: int = 0, workers: int = 1
    ) -> None:
        rows = _training_rows(problem)
        self._categorical, self._numeric, self._labels = rows.categorical, rows.numeric, rows.labels
        self._packed, self._index = rows.packed, rows.index
        self._batch_size, self._rank, self._workers = problem.batch_size, rank, workers
        self._order = order or _random_order(len(rows.labels), problem.training.seed)
        self._device = problem.device
        self.model = problem.build()
        self._forward: nn.Module = DistributedDataParallel(self.model) if workers > 1 else self.model
        self._optimizer = optim.Adam(
            parameter_groups(self.model, 2 * problem.training.l2_embedding), lr=problem.training.eta_theta, fused=True
        )
        self._weights = fixed_weights(len(problem.tasks)).to(problem.device)
        self._batches = self._minibatches()
        self.sums = torch.zeros(len(problem.tasks), device=problem.device)

    def step(self) -> None:
        """Take one optimisation step."""
        batch = next(self._batches)
        losses = self.losses(batch)
        self._optimizer.zero_grad()
        (self._weights @ losses).backward()
        self._optimizer.step()
        self.sums += losses.detach()

    def losses(self, batch: Batch) -> Tensor:
        """Return the mean losses of a minibatch, shape ``(tasks,)``."""
        logits = torch.stack(list(self._forward(batch).values()), 1)
        return functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none").mean(0)

    def batch(self) -> Batch:
        """Return the next minibatch."""
        return next(self._batches)

    def _minibatches(self) -> Iterator[Batch]:
        for epoch in count():
            for rows in self._order(epoch).to(self._device).split(self._batch_size):
                rows = rows[self._rank :: self._workers]
                yield Batch(
                    categorical=self._categorical[rows],
                    numeric=self._numeric[rows],
                    packed=self._packed,  # empty
                    labels=self._labels[rows],
                    index=self._index,  # not used
                )


def _random_order(rows: int, seed: int) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda epoch: torch.randperm(rows, generator=generator)


def _training_rows(problem: Problem) -> Batch:
    """Read all training rows as one batch, in order."""
    parts = list(problem.feed().scan("train"))
    return Batch(
        categorical=torch.cat([part.categorical for part in parts]),
        numeric=torch.cat([part.numeric for part in parts]),
        packed=parts[0].packed[:, :0],
        labels=torch.cat([part.labels for part in parts]),
        index=torch.cat([part.index for part in parts]),
    )
