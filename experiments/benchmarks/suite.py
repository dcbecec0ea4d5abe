"""The benchmarks by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.result import Result


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        module: Module of its function ``run``.
        summary: What it compares.
        minutes: Approximate duration on two cores, with its own number of rounds.
        ray: Whether it starts Ray.
    """

    module: str
    summary: str
    minutes: float
    ray: bool = False

    def run(self, options: Options) -> Result:
        """Run the benchmark."""
        function: Callable[[Options], Result] = importlib.import_module(self.module).run
        return function(options)


_HERE = "nmt.experiments.benchmarks"

BENCHMARKS = {
    "step": Benchmark(f"{_HERE}.steps.step", "a constrained step, against a weighted sum in a bare loop", 2),
    "workers": Benchmark(
        f"{_HERE}.steps.workers", "a constrained step on two Ray workers, against torchrun with DDP", 5, True
    ),
    "tasks": Benchmark(f"{_HERE}.steps.tasks", "the constrained stage, against fixed weights, at m = 8, 32, 64", 2),
    "many": Benchmark(f"{_HERE}.steps.many", "growth of a step's time from 2 to 64 tasks, against the bare model's", 2),
    "methods": Benchmark(
        f"{_HERE}.steps.methods", "a constrained step, against PCGrad, MGDA, CAGrad, Nash-MTL, FAMO", 3
    ),
    "cooper": Benchmark(f"{_HERE}.steps.cooper", "a constrained step, against Cooper 1.0.1's", 2),
    "run": Benchmark(f"{_HERE}.run_times", "breakdown of the time of a whole nmt run", 2, True),
    "ingest": Benchmark(f"{_HERE}.ingest", "memory and stream feed, against a pyarrow scan to tensors", 2),
    "chain": Benchmark(f"{_HERE}.chain_cost", "cost of a chain by its number of tasks, 2 to 64", 3),
}
"""All benchmarks, in the order in which they run."""

SCRIPTS = {
    "sweep_overhead": "overhead of Ray Tune in a sweep",
    "cost_table": "samples of NMT's sweep, against the grid's",
    "predict_throughput": "nmt predict, against a bare loop over the same rows",
    "prepare_throughput": "preparation of TikTok's format, against reading it",
    "stream_ingest": "an epoch of files larger than memory, against a scan",
    "paired_violations": "noise of violations, plain against paired",
    "refresh_days": "nmt refresh day by day, against a chain trained anew",
    "promise": "a chain against the best weights of a grid, on real data",
}
"""Benchmarks with a command line of their own."""


def select(names: list[str]) -> dict[str, Benchmark]:
    """Return the benchmarks of these names, or all if there is no name.

    Raises:
        ValueError: There is no such benchmark.
    """
    for name in names:
        if name not in BENCHMARKS:
            near = get_close_matches(name, BENCHMARKS, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            own = f"; it is a script: python -m experiments.benchmarks {name} …" if name in SCRIPTS else ""
            raise ValueError(f"there is no benchmark {name!r}{hint}{own}; allowed are {', '.join(BENCHMARKS)}")
    return {name: BENCHMARKS[name] for name in names or BENCHMARKS}
