"""The overhead of Ray Tune: a sweep, against the same stages one after the other in one process.

::

    python -m experiments.benchmarks.sweep_overhead experiments/conflict.yaml --rounds 3

Prints a Markdown table of medians over rounds. A round measures three ways in turn: one process (a loop over the
trials' chains, with the sweep's memoisation), the sweep with one trial at a time, and the sweep with as many trials as
the machine holds. Each starts with an empty storage and prepared data. ``between trials`` is the time from the last
record of a trial to the first step of the next, in the process that trains.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from nmt.experiments.benchmarks.harness.command import run_module, set_options
from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.orchestrator.tracking.manifests.store import ManifestStore

ONE_PROCESS = "one process"
ONE_TRIAL, ALL_TRIALS = "sweep, one trial at a time", "sweep, as many as fit"


def train_in_one_process(file: str, overrides: Sequence[str]) -> None:
    """Train the sweep's stages in this process; print their number as JSON."""
    import torch

    from nmt.orchestrator.experiment.prepared import prepare
    from nmt.orchestrator.trials.sweep_plan import plan_sweep
    from nmt.trainers.data.open_feed import open_feed
    from nmt.trainers.models.build import build_model
    from nmt.trainers.reporter import NullReporter
    from nmt.trainers.stage.chain import run_chain
    from nmt.trainers.store.stage_store import StageStore

    torch.set_num_threads(1)
    prepared = prepare(file, overrides, lambda _: None)
    spec = prepared.spec
    labels = [task.label for task in spec.tasks]
    feed = open_feed(spec.ingest, prepared.folder, labels, spec.batch_size, spec.training.seed)
    store = StageStore(prepared.experiment.storage)
    stages = set()
    for trial in plan_sweep(prepared).trials:
        model = build_model(spec.model, feed.schema, spec.tasks, spec.training.seed)
        stages |= {record.key for record in run_chain(trial.spec, model, feed, store, NullReporter())}
    print(json.dumps({"stages": len(stages)}))


def measure(name: str, file: str, overrides: Sequence[str], cache: str) -> dict[str, Any]:
    """Measure one way, in a process of its own with an empty storage."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"storage": f"{folder}/runs", "tracking": f"sqlite:///{folder}/mlflow.db", "data.cache": cache}
        if name == ONE_TRIAL:
            settings["tune.max_concurrent_trials"] = "1"
        words = [*(word for setting in overrides for word in ("--set", setting)), *set_options(settings)]
        alone = ["nmt.experiments.benchmarks.sweep_overhead", "--one-process", file]
        command = alone if name == ONE_PROCESS else ["nmt.orchestrator.cli", "sweep", file, "--json"]
        started = time.monotonic()
        found = json.loads(run_module(*command, *words, environment={**os.environ, "OMP_NUM_THREADS": "1"}))
        wall = time.monotonic() - started
        stages = found["stages"] if name == ONE_PROCESS else found["cost"]["stages"]
        gaps = gaps_between_trials(f"{folder}/runs") if name == ONE_TRIAL else []
        return {"wall": wall, "stages": stages, "gaps": gaps}


def gaps_between_trials(storage: str) -> list[float]:
    """Return the seconds from each trial's last record to the next one's first step, for trials that ran one by one."""
    store = ManifestStore(storage)
    trials = sorted((store.read(name) for name in store.names()), key=lambda trial: trial.seen)
    return [min(after.trained.values()) - before.seen for before, after in pairwise(trials) if after.trained]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file with a sweep")
    parser.add_argument("--set", action="append", default=[], help="override a key of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_process:
        train_in_one_process(arguments.file, arguments.set)
        return
    file = str(Path(arguments.file).absolute())
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (ONE_PROCESS, ONE_TRIAL, ALL_TRIALS)}
    with tempfile.TemporaryDirectory() as cache:
        measure(ONE_PROCESS, file, [*arguments.set, "training.max_epochs=1"], cache)  # prepares the data
        for number in range(arguments.rounds):
            for name, rounds in found.items():
                rounds.append(measure(name, file, arguments.set, cache))
                print(f"round {number + 1}, {name}: {rounds[-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    lines = []
    for name, rounds in found.items():
        pairs = zip(rounds, found[ONE_PROCESS], strict=True)
        ratio = statistics.median(one["wall"] / other["wall"] for one, other in pairs)
        between = [gap for one in rounds for gap in one["gaps"]]
        gap = f"{statistics.median(between):.2f} s" if between else "–"
        lines.append((name, rounds[0]["stages"], f"{ratio:.2f}", gap))
    print(markdown_table(("", "stages trained", "wall time, relative", "between trials"), lines))


if __name__ == "__main__":
    main()
