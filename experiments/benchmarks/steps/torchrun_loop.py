"""One of the processes that ``torchrun`` starts: the bare loop on its part of every global batch.

Run by the benchmark ``workers``; the argument is a pickled :class:`Job`.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from experiments.benchmarks.steps.bare_loop import BareLoop
from experiments.benchmarks.steps.problem import Problem


@dataclass(frozen=True)
class Job:
    """What a process has to do.

    Attributes:
        problem: What to train; its model notes when it is called.
        steps: How many steps to take.
        niceness: Niceness to take them at.
    """

    problem: Problem
    steps: int
    niceness: int


def main(file: str) -> None:
    """Train."""
    job: Job = pickle.loads(Path(file).read_bytes())
    os.nice(max(0, job.niceness - os.nice(0)))
    dist.init_process_group("gloo")
    loop = BareLoop(job.problem, rank=dist.get_rank(), workers=dist.get_world_size())
    for _ in range(job.steps):
        loop.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
