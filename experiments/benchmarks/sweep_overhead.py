"""What Ray Tune adds: a sweep against the same stages run one after the other in one bare process.

::

    python -m experiments.benchmarks.sweep_overhead experiments/conflict.yaml --rounds 3

Prints a Markdown table of medians over rounds, every line of a round measured in turn: the bare process (a loop over
the trials' chains, memoised as the sweep's are), the sweep with one trial at a time, and the sweep with as many as the
machine holds. Each begins with an empty storage and prepared data. ``between trials`` is the time from a trial's last
record to the next trial's first step, in the process that trains.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.tracking.manifests.store import ManifestStore

TRAINED_ALONE = "bare process"
ONE, ALL = "sweep, one trial at a time", "sweep, as many as fit"


def bare(file: str, overrides: Sequence[str]) -> None:
    """Train the sweep's stages in this process; prints seconds of training and of everything."""
    import torch

    from orchestrator.experiment.prepared import prepare
    from orchestrator.trials.sweep_plan import plan_sweep
    from trainers.data.open_feed import open_feed
    from trainers.models.build import build_model
    from trainers.reporter import NullReporter
    from trainers.stage.chain import run_chain
    from trainers.store.stage_store import StageStore

    torch.set_num_threads(1)
    prepared = prepare(file, overrides, lambda _: None)
    spec = prepared.spec
    labels = [task.label for task in spec.tasks]
    started = time.monotonic()
    feed = open_feed(spec.ingest, prepared.folder, labels, spec.batch_size, spec.training.seed)
    store = StageStore(prepared.experiment.storage)
    stages = set()
    for trial in plan_sweep(prepared).trials:
        model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed)
        stages |= {record.key for record in run_chain(trial.spec, model, feed, store, NullReporter())}
    print(json.dumps({"stages": len(stages), "seconds": time.monotonic() - started}))


def measure(name: str, file: str, overrides: Sequence[str], cache: str) -> dict[str, Any]:
    """One line of a round, in a process of its own and an empty storage."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            *overrides,
            f"storage={folder}/runs",
            f"tracking=sqlite:///{folder}/mlflow.db",
            f"data.cache={cache}",
            *(["tune.max_concurrent_trials=1"] if name == ONE else []),
        ]
        words = [word for setting in settings for word in ("--set", setting)]
        module = "experiments.benchmarks.sweep_overhead" if name == TRAINED_ALONE else "orchestrator.cli"
        verb = ["--bare", file] if name == TRAINED_ALONE else ["sweep", file, "--json"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", module, *verb, *words], capture_output=True, text=True, env=environment, check=False
        )
        wall = time.monotonic() - started
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        found = json.loads(done.stdout)
        if name == TRAINED_ALONE:
            return {"wall": wall, "stages": found["stages"], "gaps": []}
        return {"wall": wall, "stages": found["cost"]["stages"], "gaps": gaps(f"{folder}/runs") if name == ONE else []}


def gaps(storage: str) -> list[float]:
    """Seconds between a trial's last record and the next trial's first step, of trials that ran one by one."""
    store = ManifestStore(storage)
    trials = sorted((store.read(name) for name in store.names()), key=lambda trial: trial.seen)
    return [min(after.trained.values()) - before.seen for before, after in pairwise(trials) if after.trained]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file with a sweep")
    parser.add_argument("--set", action="append", default=[], help="override a key of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.file, arguments.set)
        return
    file = str(Path(arguments.file).absolute())
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (TRAINED_ALONE, ONE, ALL)}
    with tempfile.TemporaryDirectory() as cache:
        measure(TRAINED_ALONE, file, [*arguments.set, "training.max_epochs=1"], cache)  # prepares the data
        for number in range(arguments.rounds):
            for name, rounds in found.items():
                rounds.append(measure(name, file, arguments.set, cache))
                print(f"round {number + 1}, {name}: {rounds[-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    print("| | stages trained | wall time, relative | between trials |\n|---|---|---|---|")
    for name, rounds in found.items():
        pairs = zip(rounds, found[TRAINED_ALONE], strict=True)
        ratio = statistics.median(one["wall"] / other["wall"] for one, other in pairs)
        between = [gap for one in rounds for gap in one["gaps"]]
        shown = f"{statistics.median(between):.2f} s" if between else "–"
        print(f"| {name} | {rounds[0]['stages']} | {ratio:.2f} | {shown} |")


if __name__ == "__main__":
    main()
