"""A model that logs its calls, which gives the time of steps inside any worker."""

from __future__ import annotations

import os
import statistics
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.data.batch import Batch
from trainers.data.schema import Schema
from trainers.registry import MODELS, resolve
from trainers.spec.task import Task
from trainers.workers.process_group import rank

_CALL = struct.Struct("<d?")


class TimedModel(nn.Module):
    """A registered model that appends the time and kind of each call to a file of its process in ``calls``.

    Writing takes a few microseconds. A call in training mode with gradients is a training pass.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        base: Name of the model.
        calls: Folder to write to.
        options: Options of the model.
    """

    def __init__(
        self, schema: Schema, tasks: Sequence[Task], base: str, calls: str, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model = resolve("model", base, MODELS)(schema, tasks, **(options or {}))
        self._calls = calls
        self._file: int | None = None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Call the model."""
        if self._file is None:
            path = f"{self._calls}/{time.time_ns()}.{rank()}.{os.nice(0)}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._file, _CALL.pack(time.time(), self.training and torch.is_grad_enabled()))
        outputs: dict[str, Tensor] = self.model(batch)
        return outputs


@dataclass(frozen=True)
class Calls:
    """The calls of one process.

    Attributes:
        rank: Its rank.
        niceness: Its niceness.
        times: Start of each call, in seconds since 1970.
        training: Whether each call was a training pass.
    """

    rank: int
    niceness: int
    times: tuple[float, ...]
    training: tuple[bool, ...]

    def median_step(self) -> float:
        """Return the median time in seconds between consecutive training passes without another call in between."""
        calls = pairwise(zip(self.times, self.training, strict=True))
        return statistics.median(after - before for (before, one), (after, other) in calls if one and other)

    def last_steps(self, steps: int) -> list[float]:
        """Return the times in seconds between the last ``steps + 1`` training passes.

        Raises:
            ValueError: There were fewer passes.
        """
        times = [moment for moment, training in zip(self.times, self.training, strict=True) if training]
        if len(times) < steps + 1:
            raise ValueError(f"{len(times)} training passes were logged; {steps} steps need {steps + 1}")
        times = times[-steps - 1 :]
        return [after - before for before, after in pairwise(times)]


def read_calls(folder: Path) -> list[Calls]:
    """Read the calls of all processes, sorted by rank."""
    found = []
    for path in sorted(folder.iterdir()):
        _, process_rank, niceness = path.name.split(".")
        pairs = list(_CALL.iter_unpack(path.read_bytes()))
        found.append(
            Calls(int(process_rank), int(niceness), tuple(time for time, _ in pairs), tuple(kind for _, kind in pairs))
        )
    return sorted(found, key=lambda calls: calls.rank)
