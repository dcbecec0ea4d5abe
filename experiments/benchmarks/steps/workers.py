"""``workers``: a constrained step on two Ray Train workers, against ``torchrun`` and ``DistributedDataParallel``.

Both sides note the time of every training pass inside the workers, by the same model; their start is not in it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.pairing import Timing
from experiments.benchmarks.harness.result import Result, Row
from experiments.benchmarks.steps.problem import Problem
from experiments.benchmarks.steps.step import problem
from experiments.benchmarks.steps.timed_model import Calls, read_calls
from experiments.benchmarks.steps.torchrun_loop import Job
from orchestrator.cluster.mailbox import Mailbox
from orchestrator.cluster.ray_cluster import cluster
from orchestrator.experiment.prepared import prepare_experiment
from orchestrator.experiment.sections import Experiment
from trainers.spec.chain_spec import ModelSpec

AIM = 1.05
WORKERS = 2
SKIPPED = 3
"""First steps of a process that are left out: allocators and buckets settle in them."""


def run(options: Options) -> Result:
    """Measure, a run of ours and one of the rival's in turn."""
    stated = problem(options)
    stated = replace(stated, training=replace(stated.training, max_epochs=1, certificate_examples=0))
    stated = replace(stated, training=replace(stated.training, evaluations_per_epoch=1, backtracks=0, retreats=0))
    steps = stated.feed().steps_per_epoch()
    ours, theirs = [], []
    niceness = 0
    with cluster(None, verbose=False):
        for number in range(options.rounds or 3):
            calls = by_ray(stated, options.folder / f"ray-{number}")
            niceness = calls[0].niceness
            ours.append(mean_step(calls, steps))
            calls = by_torchrun(stated, steps, niceness, options.folder / f"torchrun-{number}")
            theirs.append(mean_step(calls, steps))
    return Result(
        "workers",
        f"a constrained step on {WORKERS} Ray workers against torchrun with DistributedDataParallel",
        [Row.of("nmt, Ray Train", "torchrun, bare loop", Timing(tuple(ours)), Timing(tuple(theirs)), AIM)],
        conditions={**stated.conditions, "workers": WORKERS, "steps": steps - SKIPPED, "niceness": niceness},
        notes=(
            f"Ray gives its workers niceness {niceness} here; the rival's processes take the same. Gloo, one thread a "
            "process. Each round is one run of either side; a step is the mean over the run and over its workers.",
        ),
    )


def mean_step(calls: list[Calls], steps: int) -> float:
    """Mean seconds per step of all processes, without the first steps."""
    found = [second for one in calls for second in one.last_steps(max(1, steps - 1 - SKIPPED))]
    return sum(found) / len(found)


def timed(stated: Problem, folder: Path) -> Problem:
    """The same problem with a model that notes its calls."""
    calls = folder / "calls"
    calls.mkdir(parents=True)
    options = {"base": stated.model.name, "options": dict(stated.model.options), "calls": str(calls)}
    name = "experiments.benchmarks.steps.timed_model:TimedModel"
    return replace(stated, model=ModelSpec(name, options))


def by_ray(stated: Problem, folder: Path) -> list[Calls]:
    """One chain of two stages on Ray Train, as ``nmt run`` runs it, without MLflow; the last stage is constrained."""
    from orchestrator.cluster import ray_train

    stated = timed(stated, folder)
    content: dict[str, Any] = {
        "name": "benchmark",
        "data": {"path": stated.folder, "batch_size": stated.batch_size, "ingest": "memory"},
        "tasks": [asdict(task) for task in stated.tasks],
        "model": {"name": stated.model.name, **stated.model.options},
        "training": asdict(stated.training),
        "scaling": {"workers": WORKERS},
        "storage": str(folder / "runs"),
    }
    prepared = prepare_experiment(Experiment.model_validate(content), lambda _: None)
    with Mailbox(lambda *_: None) as mailbox:
        ray_train.run(prepared.experiment, prepared.spec, prepared.folder, mailbox.reporter())
    return read_calls(folder / "calls")


def by_torchrun(stated: Problem, steps: int, niceness: int, folder: Path) -> list[Calls]:
    """The bare loop in as many processes."""
    stated = timed(stated, folder)
    job = folder / "job.pickle"
    job.write_bytes(pickle.dumps(Job(stated, steps, niceness)))
    module = "experiments.benchmarks.steps.torchrun_loop"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}"]
    done = subprocess.run([*command, "-m", module, str(job)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"torchrun failed:\n{done.stderr}")
    return read_calls(folder / "calls")
