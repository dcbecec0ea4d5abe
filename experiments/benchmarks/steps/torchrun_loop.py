"""A process of ``torchrun``: the bare loop on its part of every global batch.

The benchmark ``workers`` runs it; the argument is a file with a pickled :class:`Run`.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from nmt.experiments.benchmarks.steps.bare_loop import BareLoop
from nmt.experiments.benchmarks.steps.problem import Problem


@dataclass(frozen=True)
class Run:
    """What each process does.

    Attributes:
        problem: What to train; its model logs its calls.
        steps: Number of steps.
        niceness: Niceness of the process.
    """

    problem: Problem
    steps: int
    niceness: int


def main(file: str) -> None:
    """Train the problem in a file."""
    run: Run = pickle.loads(Path(file).read_bytes())
    os.nice(max(0, run.niceness - os.nice(0)))
    dist.init_process_group("gloo")
    loop = BareLoop(run.problem, rank=dist.get_rank(), workers=dist.get_world_size())
    for _ in range(run.steps):
        loop.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
