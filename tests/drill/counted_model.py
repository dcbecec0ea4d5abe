"""A model that writes down when it is trained, pass by pass: what a process did is known also after ``kill -9``."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainers.data.batch import Batch
from trainers.data.schema import Schema
from trainers.models.shared_bottom import SharedBottom
from trainers.spec.task import Task
from trainers.workers.process_group import rank

_TIME = struct.Struct("<d")
_PACE = "pace"


class CountedModel(SharedBottom):
    """Shared-Bottom with dropout, so that its numbers depend on the random generators, which notes its training passes.

    A training pass is a forward pass in training mode and with gradients. Each process appends the time of each of them
    to a file of its own below ``passes``. A file ``pace`` there slows training down: it holds the seconds that a pass
    waits, and numbers do not depend on it.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        passes: Folder to write to.
        embedding_dim: Width of an embedding.
        units: Widths of the trunk and of a tower.
        dropout: Share of the trunk's outputs that a training pass drops.
    """

    def __init__(
        self,
        schema: Schema,
        tasks: Sequence[Task],
        passes: str,
        embedding_dim: int = 8,
        units: Sequence[int] = (32, 16),
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema, tasks, embedding_dim, units[:1], units[1:])
        self._dropout = nn.Dropout(dropout)
        self._passes = passes
        self._file: int | None = None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Task → logit, shape ``(rows,)``."""
        if self.training and torch.is_grad_enabled():
            self._note()
        logits = self.towers(self._dropout(self.bottom(self.features(batch))))
        return dict(zip(self._tasks, logits.unbind(0), strict=True))

    def _note(self) -> None:
        if self._file is None:
            path = f"{self._passes}/{time.time_ns()}.{rank()}.{os.getpid()}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._file, _TIME.pack(time.time()))
        with suppress(FileNotFoundError, ValueError):
            time.sleep(float(Path(self._passes, _PACE).read_text()))


@dataclass(frozen=True)
class TrainingProcess:
    """A process that trained.

    Attributes:
        rank: Its rank.
        pid: Its id.
        times: When its training passes began, in seconds since 1970.
    """

    rank: int
    pid: int
    times: tuple[float, ...]


def training_processes(passes: Path) -> list[TrainingProcess]:
    """All processes that trained so far, in the order in which they began."""
    found = []
    for path in sorted(path for path in passes.iterdir() if path.name != _PACE):
        _, its_rank, pid = path.name.split(".")
        content = path.read_bytes()
        whole = content[: len(content) // _TIME.size * _TIME.size]
        found.append(TrainingProcess(int(its_rank), int(pid), tuple(time for (time,) in _TIME.iter_unpack(whole))))
    return found


def slow_down(passes: Path, seconds: float) -> None:
    """Let every training pass from now on wait so long; 0 does not."""
    temporary = passes.with_name(f"{passes.name}.{_PACE}")
    temporary.write_text(str(seconds))
    temporary.replace(passes / _PACE)
