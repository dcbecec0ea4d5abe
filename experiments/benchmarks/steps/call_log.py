"""A log of the calls of a model, one file per process: it survives ``kill -9``, and times steps in any worker."""

from __future__ import annotations

import os
import statistics
import struct
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from nmt.trainers.workers.process_group import rank

_CALL = struct.Struct("<d?")


class CallLog:
    """Appends the time and kind of each call to a file of its process; that takes a few microseconds.

    Args:
        folder: Folder of the files.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: int | None = None

    def append(self, training: bool) -> None:
        """Log a call that starts now."""
        if self._file is None:
            path = f"{self._folder}/{time.time_ns()}.{rank()}.{os.getpid()}.{os.nice(0)}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._file, _CALL.pack(time.time(), training))


def is_training_pass(model: nn.Module) -> bool:
    """Return whether a call of a model now is a training pass: in training mode and with gradients."""
    return model.training and torch.is_grad_enabled()


@dataclass(frozen=True)
class Calls:
    """The calls of one process.

    Attributes:
        rank: Rank of the process.
        pid: Id of the process.
        niceness: Niceness of the process.
        times: Start of each call, in seconds since 1970.
        training: Whether each call was a training pass.
    """

    rank: int
    pid: int
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
    """Read the calls of all processes, in the order of their first calls."""
    found = []
    for path in sorted(folder.iterdir()):
        _, process_rank, pid, niceness = map(int, path.name.split("."))
        content = path.read_bytes()
        # A process may be writing at this moment.
        whole = content[: len(content) // _CALL.size * _CALL.size]
        calls = list(_CALL.iter_unpack(whole))
        times, training = tuple(time for time, _ in calls), tuple(kind for _, kind in calls)
        found.append(Calls(process_rank, pid, niceness, times, training))
    return found
