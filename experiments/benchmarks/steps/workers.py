"""``workers``: a constrained step on two Ray Train workers, against ``torchrun`` with ``DistributedDataParallel``.

On both sides the same model logs the time of each training pass inside the workers, so start-up time does not count.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nmt.experiments.benchmarks.harness.command import run_module
from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import Timing
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.steps.call_log import Calls, read_calls
from nmt.experiments.benchmarks.steps.problem import Problem
from nmt.experiments.benchmarks.steps.step import problem
from nmt.experiments.benchmarks.steps.torchrun_loop import Run
from nmt.orchestrator.cluster.mailbox import Mailbox
from nmt.orchestrator.cluster.ray_cluster import cluster
from nmt.orchestrator.experiment.prepared import prepare_experiment
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.spec.chain_spec import ModelSpec

AIM = 1.05
WORKERS = 2
SKIPPED = 3
"""First steps of a process, in which allocators and buckets settle; they do not count."""


def run(options: Options) -> Result:
    """Run the benchmark: one run of each side in turn."""
    stated = problem(options)
    stated = replace(
        stated,
        training=replace(stated.training, max_epochs=1),
        execution=replace(stated.execution, evaluations_per_epoch=1, certificate_examples=0),
    )
    steps = stated.feed().steps_per_epoch()
    ours, theirs = [], []
    niceness = 0
    with cluster(None, verbose=False):
        for number in range(options.rounds or 3):
            calls = run_ray_train(stated, options.folder / f"ray-{number}")
            niceness = calls[0].niceness
            ours.append(mean_step(calls, steps))
            calls = run_torchrun(stated, steps, niceness, options.folder / f"torchrun-{number}")
            theirs.append(mean_step(calls, steps))
    return Result(
        "workers",
        f"a constrained step on {WORKERS} Ray workers against torchrun with DistributedDataParallel",
        [Row.of("nmt, Ray Train", "torchrun, bare loop", Timing(tuple(ours)), Timing(tuple(theirs)), AIM)],
        conditions={**stated.conditions, "workers": WORKERS, "steps": steps - SKIPPED, "niceness": niceness},
        notes=(
            f"Ray gives its workers niceness {niceness}, and the rival's processes take the same. Gloo, one thread a "
            "process. A round is one run of each side; a step is the mean over the run and its workers.",
        ),
    )


def mean_step(calls: list[Calls], steps: int) -> float:
    """Return the mean time in seconds per step over all processes, without the first steps."""
    found = [second for one in calls for second in one.last_steps(max(1, steps - 1 - SKIPPED))]
    return sum(found) / len(found)


def with_timed_model(stated: Problem, folder: Path) -> Problem:
    """Return the same problem with a model that logs its calls in a subfolder ``calls``."""
    calls = folder / "calls"
    calls.mkdir(parents=True)
    options = {"base": stated.model.name, "options": dict(stated.model.options), "calls": str(calls)}
    name = "nmt.experiments.benchmarks.steps.timed_model:TimedModel"
    return replace(stated, model=ModelSpec(name, options))


def run_ray_train(stated: Problem, folder: Path) -> list[Calls]:
    """Train a chain of two stages on Ray Train as ``nmt run`` does, without MLflow; the last stage is constrained."""
    from nmt.orchestrator.cluster import ray_train

    stated = with_timed_model(stated, folder)
    content: dict[str, Any] = {
        "name": "benchmark",
        "data": {"path": stated.folder, "batch_size": stated.batch_size, "ingest": "memory"},
        "tasks": [asdict(task) for task in stated.tasks],
        "model": {"name": stated.model.name, **stated.model.options},
        "training": {"recipe": "paper", "eta_lambda": stated.training.eta_lambda, "max_epochs": 1, "patience": None},
        "execution": asdict(stated.execution),
        "scaling": {"workers": WORKERS},
        "storage": str(folder / "runs"),
    }
    prepared = prepare_experiment(Experiment.model_validate(content), lambda _: None)
    with Mailbox(lambda *_: None) as mailbox:
        ray_train.run(prepared.experiment, prepared.spec, prepared.folder, mailbox.reporter())
    return read_calls(folder / "calls")


def run_torchrun(stated: Problem, steps: int, niceness: int, folder: Path) -> list[Calls]:
    """Train the bare loop in the same number of processes."""
    stated = with_timed_model(stated, folder)
    file = folder / "run.pickle"
    file.write_bytes(pickle.dumps(Run(stated, steps, niceness)))
    loop = ["-m", "nmt.experiments.benchmarks.steps.torchrun_loop", str(file)]
    run_module("torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}", *loop)
    return read_calls(folder / "calls")
