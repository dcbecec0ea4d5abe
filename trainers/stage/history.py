"""Losses, violations and multipliers of a stage, averaged and kept on the device until somebody wants to read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.trainers.records import Row
from nmt.trainers.workers.host_copy import HostCopy

CAPACITY = 256
"""Rows that wait on the device at most before they are copied out."""


class History:
    """Adds up every step on the device; a row is written each ``every`` steps, and copied out while steps go on.

    Args:
        tasks: Tasks of the stage, protected ones first.
        protected: Number of protected tasks.
        every: Steps per row.
        device: Where steps run.
    """

    def __init__(self, tasks: Sequence[str], protected: int, every: int, device: torch.device) -> None:
        self._tasks = tuple(tasks)
        self._protected = protected
        self._every = every
        width = len(tasks) + 2 * protected
        self._buffer = torch.zeros(CAPACITY, width, dtype=torch.float64, device=device)
        self._sums = torch.zeros(len(tasks) + protected, dtype=torch.float64, device=device)
        self._steps: list[int] = []
        self._copies: deque[tuple[list[int], HostCopy]] = deque()
        self._since = 0
        self._reported = 0
        self.rows: list[Row] = []

    def add(self, step: int, losses: Tensor, violations: Tensor, multipliers: Tensor) -> None:
        """Record a step, without synchronising with the device.

        Args:
            step: Steps of the stage so far, this one included.
            losses: Global losses, shape ``(tasks,)``.
            violations: Signed violations, shape ``(protected,)``.
            multipliers: λ after the step, shape ``(protected,)``.
        """
        self._sums += torch.cat([losses, violations])
        self._since += 1
        if self._since < self._every:
            return
        if len(self._steps) == CAPACITY:
            self._copy()
        row = self._buffer[len(self._steps)]
        row[: len(self._sums)] = self._sums / self._since
        row[len(self._sums) :] = multipliers
        self._steps.append(step)
        self._sums.zero_()
        self._since = 0

    def flush(self, wait: bool = True) -> tuple[Row, ...]:
        """Copy what is left on the device to the host.

        Args:
            wait: Whether to wait for what is still on its way. Otherwise the next call has it.

        Returns:
            Rows that arrived since the last call.
        """
        self._copy()
        self._receive(wait)
        fresh = tuple(self.rows[self._reported :])
        self._reported = len(self.rows)
        return fresh

    def state_dict(self) -> dict[str, Any]:
        """All rows, and what has been added up since the last one."""
        self._copy()
        self._receive(wait=True)
        values = [[*row.losses.values(), *row.violations.values(), *row.multipliers.values()] for row in self.rows]
        return {
            "steps": torch.tensor([row.step for row in self.rows], dtype=torch.int64),
            "values": torch.tensor(values, dtype=torch.float64).reshape(len(self.rows), self._buffer.shape[1]),
            "sums": self._sums.cpu(),
            "since": self._since,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state; the next :meth:`flush` returns all of its rows."""
        self._steps = []
        self._copies.clear()
        self._reported = 0
        self.rows = [self._row(*row) for row in zip(state["steps"].tolist(), state["values"].tolist(), strict=True)]
        self._sums.copy_(state["sums"])
        self._since = state["since"]

    def _copy(self) -> None:
        if self._steps:
            self._copies.append((self._steps, HostCopy(self._buffer[: len(self._steps)])))
            self._steps = []

    def _receive(self, wait: bool) -> None:
        while self._copies and (wait or self._copies[0][1].is_ready()):
            steps, copy = self._copies.popleft()
            self.rows.extend(self._row(*row) for row in zip(steps, copy.wait().tolist(), strict=True))

    def _row(self, step: int, values: Sequence[float]) -> Row:
        names, held = self._tasks, self._tasks[: self._protected]
        return Row(
            step=step,
            losses=dict(zip(names, values, strict=False)),
            violations=dict(zip(held, values[len(names) :], strict=False)),
            multipliers=dict(zip(held, values[len(names) + len(held) :], strict=False)),
        )
