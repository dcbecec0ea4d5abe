"""What faults cost: one chain of three stages, undisturbed and then once per fault, on two workers of this machine.

::

    python -m experiments.benchmarks.fault_drill --only worker-stage-3,driver

After every fault the same command runs to its end, and what it leaves is compared with the undisturbed run: the record
of every stage bit by bit, except the time it took, θ* too, and every point in MLflow, except times. Prints a Markdown
table, and what is wrong below it; then the exit status is 1.

*Lost steps* are training passes of the first worker beyond those of the undisturbed run. Before a stage's first step,
or the first one after a checkpoint, a worker makes some passes that are no steps; how many is taken from the
undisturbed run (its passes that are neither steps nor the certificate's), and they are taken off for every further
start of a stage that the command tells of. *Recovery* is the time from the fault to the first step of a new process.
Every command's processes are watched: none may be left when it has ended.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray  # noqa: F401  # brings psutil
import torch
import yaml
from mlflow import MlflowClient

from experiments.benchmarks.counted_model import TrainingProcess, slow_down, training_processes
from trainers.data.prepared import write
from trainers.data.schema import SPLITS, Numeric, Schema
from trainers.stage_store import StageStore

psutil: Any = importlib.import_module("psutil")

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("first", "second", "third")
WORKERS = 2
NAME = "fault-drill"

PATIENCE = 600.0
"""Seconds after which a command, or an event of its run, is no longer waited for."""

FOUND_WITHIN = 60.0
"""Seconds within which a hung worker has to be found."""

LEFT_WITHIN = 90.0
"""Seconds within which every process of a command has to be gone; two of Ray's agents try to reach others for 60."""

OUTAGE = 60.0
"""Seconds that the tracking server is away."""

OF_A_CLOCK = ("cost/wall_seconds", "cost/worker_seconds")
"""Metrics that differ between two runs of the same."""

OF_THE_MOMENT = ("mlflow.", "nmt.run_uuid")
"""Starts of the tags that do."""


class DrillError(Exception):
    """A run did not come to its end, or a fault could not be placed."""


class SkippedError(Exception):
    """A fault cannot be made on this machine."""


@dataclass(frozen=True)
class Size:
    """How large the experiment is; a stage takes ``epochs × train_rows / batch_size`` steps.

    Attributes:
        train_rows: Rows to train on; a fifth of them each to validate and test.
        vocabulary: Rows of the embedding: they are nearly all of a checkpoint.
        batch_size: Rows of a global batch.
        epochs: Passes over the data.
        checkpoint_every: Steps between two checkpoints.
        pace: Seconds that every training pass waits.
    """

    train_rows: int = 20_000
    vocabulary: int = 20_000
    batch_size: int = 250
    epochs: int = 6
    checkpoint_every: int = 60
    pace: float = 0.02


class Family:
    """A command's process and all that it starts, and that these start.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: set[Any] = set()

    def look(self) -> None:
        """Take note of the present descendants: once their parents are gone, nobody knows whose they were."""
        with suppress(psutil.NoSuchProcess):
            self._seen.update(self._root.children(recursive=True))

    def end(self, seconds: float) -> list[str]:
        """Wait for all of them to be gone; those that are not are ended, and their command lines returned."""
        end = time.monotonic() + seconds
        while (left := [process for process in self._seen if alive(process)]) and time.monotonic() < end:
            time.sleep(0.2)
        lines = []
        for process in left:
            with suppress(psutil.NoSuchProcess):
                lines.append(" ".join(process.cmdline())[:100])
                process.kill()
        return lines


def alive(process: Any) -> bool:
    """Whether a process of psutil still runs."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


class Command:
    """A command ``nmt`` while it runs, started as a person would start it.

    Args:
        arguments: Its arguments.
        folder: Where it is started; its output is kept there.
        number: Distinguishes its output from that of other commands.
        environment: Environment variables.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, number: int, environment: Mapping[str, str]) -> None:
        self._out, self._err = folder / f"{number}.out.json", folder / f"{number}.err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", *arguments],
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.family = Family(self.process.pid)

    @property
    def said(self) -> str:
        """What it wrote to standard error so far."""
        return self._err.read_text(errors="replace")

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            DrillError: It does not end.
        """
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.family.look()
            if time.monotonic() > end:
                raise DrillError(f"the command did not end within {PATIENCE:.0f} s; it said:\n{self.said[-2000:]}")
            time.sleep(0.5)

    def document(self) -> tuple[dict[str, Any], str]:
        """The JSON document of a command that ended well, and what stands before it and should not.

        Raises:
            DrillError: It did not end well, or there is no document.
        """
        if self.process.returncode != 0:
            raise DrillError(f"exit status {self.process.returncode}; it said:\n{self.said[-2000:]}")
        text = self._out.read_text(errors="replace")
        begin = re.search(r"^\{", text, re.MULTILINE)
        if begin is None:
            raise DrillError(f"no JSON document on standard output, but: {text[:500]}")
        return json.loads(text[begin.start() :]), text[: begin.start()]

    def kill(self) -> None:
        """End it by force, with all that it started."""
        self.family.look()
        self.process.kill()
        self.process.wait()
        self.family.end(0.0)


@dataclass(frozen=True)
class Site:
    """What all runs share: data, model and environment.

    Attributes:
        folder: Everything is written below it.
        size: How large the experiment is.
        ray: Folder of Ray's sessions: a cluster that somebody else has started on this machine is not joined.
    """

    folder: Path
    size: Size
    ray: Path

    @property
    def passes(self) -> Path:
        """Where the model of the run that is under way notes its passes."""
        return self.folder / "passes"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of every process."""
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return {
            "RAY_AUTH_MODE": "disabled",
            **inherited,
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": str(self.ray),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
            "NO_COLOR": "1",
        }

    def trial(self, name: str) -> Trial:
        """A fresh storage, and a fresh tracking store."""
        folder = self.folder / name
        for old in (folder, self.passes):
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
        slow_down(self.passes, self.size.pace)
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        trial = Trial(self, folder)
        trial.declare(f"sqlite:///{trial.database}")
        return trial


@contextmanager
def site(folder: Path, size: Size = Size()) -> Iterator[Site]:
    """Prepare the data and, since their making takes seconds, MLflow's empty tables."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "mlflow.db").unlink(missing_ok=True)
    write_data(folder / "data", size)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    # Paths of sockets are short: Ray's folder cannot be below just any folder.
    ray_folder = Path(tempfile.mkdtemp(prefix="nmt-drill-", dir="/tmp"))
    try:
        yield Site(folder, size, ray_folder)
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def write_data(folder: Path, size: Size) -> None:
    """Rows whose three labels depend on different directions of the same features."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, len(TASKS)))
    splits = {}
    for split in SPLITS:
        rows = size.train_rows if split == "train" else size.train_rows // 5
        features = rng.normal(size=(rows, 6))
        labels = features @ directions + rng.logistic(size=(rows, len(TASKS))) > 0.5
        columns: dict[str, Any] = {"item": rng.integers(1, 100, rows)}  # the rest of the vocabulary is only to be kept
        columns |= {f"x{number}": features[:, number] for number in range(6)}
        columns |= {task: labels[:, number].astype(float) for number, task in enumerate(TASKS)}
        splits[split] = [pa.table(columns)]
    schema = Schema(
        categorical={"item": size.vocabulary},
        numeric={f"x{number}": Numeric() for number in range(6)},
        labels=dict.fromkeys(TASKS, 2),
        source="synthetic rows",
    )
    write(folder, schema, splits)


@dataclass
class Trial:
    """A storage, a tracking store, and the commands that are given on them.

    Attributes:
        site: What all trials share.
        folder: Everything of this one is below it.
        commands: The commands so far.
        notes: What is worth telling.
        problems: What went wrong although the runs came to their end.
    """

    site: Site
    folder: Path
    commands: list[Command] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stored: int = 0

    @property
    def storage(self) -> Path:
        """Where stages are kept."""
        return self.folder / "runs"

    @property
    def database(self) -> Path:
        """What the tracking store, or the server before it, writes to."""
        return self.folder / "mlflow.db"

    @property
    def file(self) -> Path:
        """The experiment file."""
        return self.folder / "experiment.yaml"

    def declare(self, tracking: str) -> None:
        """Write the experiment file."""
        size = self.site.size
        content = {
            "name": NAME,
            "data": {
                "path": str(self.site.folder / "data"),
                "cache": str(self.site.folder),  # the default is below the storage, and params are compared
                "batch_size": size.batch_size,
            },
            "tasks": [{"name": task, "loss": "binary_cross_entropy", "metric": "auc"} for task in TASKS],
            "model": {
                "name": "experiments.benchmarks.counted_model:CountedModel",
                "passes": str(self.site.passes),
            },
            "training": {
                "eta_lambda": 10.0,
                "violation": "relative",
                "measured_on": "valid",
                "max_epochs": size.epochs,
                "evaluations_per_epoch": 1,
                "patience": size.epochs,  # every stage has the same number of steps
                "record_every": 5,
                "checkpoint_every": size.checkpoint_every,
                "certificate_examples": 4 * size.batch_size,
            },
            "scaling": {"workers": WORKERS},
            "storage": str(self.storage),
            "tracking": tracking,
        }
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))

    def start(self, *options: str) -> Command:
        """Give the command ``nmt run``."""
        arguments = ["run", str(self.file), "--json", *options]
        self.commands.append(Command(arguments, self.folder, len(self.commands) + 1, self.site.environment))
        self._stored = len(list(self.storage.glob("stages/*/record.json")))
        return self.commands[-1]

    def finish(self) -> dict[str, Any]:
        """Wait for the last command to end well, and look at what it tells.

        Raises:
            DrillError: It does not end, or not well.
        """
        command = self.commands[-1]
        command.wait()
        left = [line for command in self.commands for line in command.family.end(LEFT_WITHIN)]
        self.problems += [f"a process was left: {line}" for line in left]
        document, other = command.document()
        if other:
            self.problems.append(f"standard output holds more than the JSON document: {other[:80]}…")
        cost = document["cost"]
        if (cost["stages"], cost["stages_reused"]) != (len(TASKS) - self._stored, self._stored):
            self.problems.append(
                f"{self._stored} stages were stored when the last command began, and it tells of {cost['stages']} "
                f"trained and {cost['stages_reused']} reused"
            )
        if not document["tracking_complete"]:
            self.problems.append(f"tracking is not complete: {document['tracking_failure']}")
        return document

    def processes(self) -> list[TrainingProcess]:
        """All processes that trained so far."""
        return training_processes(self.site.passes)

    def worker(self, rank: int) -> TrainingProcess:
        """The present worker of this rank."""
        return [process for process in self.processes() if process.rank == rank][-1]

    def checkpoint(self, key: str) -> int:
        """Steps in the newest checkpoint of a stage; 0 when there is none."""
        files = (self.storage / "checkpoints" / key).glob("step-*.json")
        return max((int(file.stem.removeprefix("step-")) for file in files), default=0)

    def reach(self, key: str, extra: float = 0.5) -> None:
        """Wait for the second checkpoint of a stage, and for a share of the steps to the next one.

        Raises:
            DrillError: The stage was over before.
        """
        every = self.site.size.checkpoint_every
        self.wait_for(f"a checkpoint of stage {key}", lambda: self.checkpoint(key) >= 2 * every)
        target = len(self.worker(0).times) + round(extra * every)
        self.wait_for("further steps", lambda: len(self.worker(0).times) >= target)

    def wait_for(self, what: str, holds: Callable[[], T], interval: float = 0.05) -> T:
        """Wait until something holds while the last command runs.

        Raises:
            DrillError: It never did.
        """
        command = self.commands[-1]
        end = time.monotonic() + PATIENCE
        looked = 0.0
        while not (found := holds()):
            if command.process.poll() is not None or time.monotonic() > end:
                raise DrillError(f"waited in vain for {what}; the command said:\n{command.said[-2000:]}")
            if time.monotonic() - looked > 1.0:
                command.family.look()
                looked = time.monotonic()
            time.sleep(interval)
        command.family.look()
        return found

    def close(self) -> None:
        """End what still runs, and keep the notes of the passes."""
        for command in self.commands:
            if command.process.poll() is None:
                command.kill()
        if self.site.passes.exists():
            self.site.passes.rename(self.folder / "passes")


@dataclass(frozen=True)
class Content:
    """What runs leave, without times.

    Attributes:
        keys: Keys of the stages.
        records: Record of each stage.
        states: θ* of each stage.
        logged: MLflow run → what it holds; points are counted, so that one may be there twice.
    """

    keys: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    states: tuple[dict[str, torch.Tensor], ...]
    logged: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def repeated(self) -> list[str]:
        """Points that are there more than once."""
        return [
            f"{run}: {name} at step {step} is there {number} times"
            for run, content in self.logged
            for (name, step), number in Counter((name, step) for name, step, _ in content["points"]).items()
            if number > 1
        ]


def content_of(trial: Trial) -> Content:
    """Read the storage and the tracking store of a trial whose runs are over."""
    found = {}
    for path in trial.storage.glob("stages/*/record.json"):
        record = json.loads(path.read_text())
        del record["wall_seconds"]
        found[record["stage"]] = record
    records = tuple(found[stage] for stage in sorted(found))
    keys = tuple(record["key"] for record in records)
    store = StageStore(str(trial.storage))
    return Content(keys, records, tuple(store.state(key) for key in keys), tuple(_logged(trial.database)))


def _logged(database: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(NAME)
    runs = client.search_runs([experiment.experiment_id]) if experiment is not None else []
    for run in sorted(runs, key=lambda run: run.info.run_name):
        points = [
            (name, point.step, None if name in OF_A_CLOCK else point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith(OF_THE_MOMENT)}
        content = {
            "status": run.info.status,
            "tags": tags,
            "params": run.data.params,
            "points": sorted(points, key=lambda point: point[:2]),
        }
        yield run.info.run_name, content


def differences(found: Content, expected: Content) -> list[str]:
    """What of the records and of θ* is not as it was without a fault, to the last bit."""
    if found.keys != expected.keys:
        return [f"stages {found.keys} are there, expected {expected.keys}"]
    told = []
    for number, (record, other) in enumerate(zip(found.records, expected.records, strict=True), 1):
        told += [f"stage {number}: {name} differs" for name in other if record.get(name) != other[name]]
    for number, (state, same) in enumerate(zip(found.states, expected.states, strict=True), 1):
        told += [
            f"stage {number}: parameter {name} differs" for name in same if not torch.equal(state[name], same[name])
        ]
    return told


def log_differences(found: Content, expected: Content) -> list[str]:
    """What MLflow has twice, or has not as it has it of an undisturbed run."""
    told = found.repeated
    names, others = [name for name, _ in found.logged], [name for name, _ in expected.logged]
    if names != others:
        return [*told, f"MLflow has the runs {names}, expected {others}"]
    for (name, content), (_, other) in zip(found.logged, expected.logged, strict=True):
        for part in ("status", "tags", "params"):
            if content[part] != other[part]:
                told.append(f"{name}: {part} {content[part]} differ from {other[part]}")
        points, same = set(content["points"]), set(other["points"])
        told += [f"{name}: the point {point} is missing" for point in sorted(same - points, key=str)[:3]]
        told += [f"{name}: the point {point} is one too many" for point in sorted(points - same, key=str)[:3]]
    return told


@dataclass(frozen=True)
class Undisturbed:
    """The run that all others are compared with.

    Attributes:
        content: What it left.
        passes: Training passes of its first worker.
        warm_up: Those before the first step of a stage.
    """

    content: Content
    passes: int
    warm_up: int


def undisturbed(trial: Trial) -> Undisturbed:
    """Run the experiment without any fault.

    Raises:
        DrillError: It did not end well, or its training passes do not add up.
    """
    trial.start()
    trial.finish()
    content = content_of(trial)
    if problems := [*trial.problems, *content.repeated]:
        raise DrillError("without any fault: " + "; ".join(problems))
    (first,) = (process for process in trial.processes() if process.rank == 0)
    size = trial.site.size
    steps = sum(record["steps"] for record in content.records)
    certificates = sum(math.ceil(record["certificate"]["examples"] / size.batch_size) for record in content.records)
    warm_up, rest = divmod(len(first.times) - steps - certificates, len(TASKS))
    if rest or warm_up < 0:
        raise DrillError(
            f"{len(first.times)} training passes are not {steps} steps, {certificates} of the certificates and the "
            "same number before each stage: what the model counts is not understood"
        )
    return Undisturbed(content, len(first.times), warm_up)


@dataclass(frozen=True)
class Outcome:
    """What a fault cost.

    Attributes:
        fault: What happened.
        lost_steps: Training steps that were made twice.
        recovery_seconds: From the fault to the first step of a new process; ``None`` when none was needed.
        equal: Whether records and θ* are those of the undisturbed run.
        trained_twice: Stages that were trained to their end more than once.
        once: Whether MLflow has everything exactly once.
        notes: What else is worth telling.
        problems: What is wrong.
        skipped: Why it was not tried.
    """

    fault: str
    lost_steps: int | None = None
    recovery_seconds: float | None = None
    equal: bool = False
    trained_twice: int | None = None
    once: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    skipped: str | None = None


def examine(trial: Trial, fault: Fault, at: float, expected: Undisturbed) -> Outcome:
    """Compare a trial whose runs are over with the undisturbed one.

    Args:
        trial: The trial.
        fault: What happened.
        at: When, in seconds since 1970.
        expected: The undisturbed run.
    """
    content = content_of(trial)
    first = [process for process in trial.processes() if process.rank == 0]
    said = "".join(command.said for command in trial.commands)
    begun = Counter(re.findall(r"(?m)^stage (\d+)/.*: started", said))
    ended = Counter(re.findall(r"(?m)^stage (\d+)/.*: done after step", said))
    again = begun.total() + len(re.findall(r"(?m)^stage .*: goes on from step", said)) - len(TASKS)
    lost = sum(len(process.times) for process in first) - expected.passes - again * expected.warm_up
    steps = (process.times[expected.warm_up] for process in first if len(process.times) > expected.warm_up)
    recovered = min((when - at for when in steps if when > at), default=None) if fault.restarts else None
    differing, log_differing = differences(content, expected.content), log_differences(content, expected.content)
    twice = sum(number > 1 for number in ended.values())
    problems = [*trial.problems, *differing, *log_differing]
    most = 2 * trial.site.size.checkpoint_every if fault.restarts else 0
    if not 0 <= lost <= most:
        problems.append(f"{lost} steps were lost, expected 0 to {most}")
    if fault.restarts and recovered is None:
        problems.append("no new process took a step")
    problems += [f"stage {stage} was trained {number} times" for stage, number in ended.items() if number > 1]
    problems += [f"stage {stage} was begun {number} times" for stage, number in begun.items() if number > 1]
    if left := [str(path) for path in trial.storage.glob("checkpoints/*/*")]:
        problems.append(f"checkpoints of finished stages were left: {', '.join(left[:3])}")
    return Outcome(
        fault.what,
        lost,
        None if recovered is None else round(recovered, 1),
        not differing,
        twice,
        not log_differing,
        tuple(trial.notes),
        tuple(problems),
    )


def kill_worker(stage: int, rank: int) -> Callable[[Trial, Sequence[str]], float]:
    """``kill -9`` of a worker between two checkpoints."""

    def make(trial: Trial, keys: Sequence[str]) -> float:
        trial.start()
        trial.reach(keys[stage - 1])
        at = send(trial.worker(rank).pid, signal.SIGKILL)
        trial.finish()
        return at

    return make


def kill_in_checkpoint(trial: Trial, keys: Sequence[str]) -> float:
    """``kill -9`` of the first worker while the temporary file of a checkpoint is there."""
    key = keys[0]
    folder = trial.storage / "checkpoints" / key
    trial.start()
    trial.reach(key, extra=0.8)
    pid = trial.worker(0).pid
    (name,) = trial.wait_for("a checkpoint that is being written", lambda: _temporary(folder), interval=0.0005)
    at = send(pid, signal.SIGKILL)
    step, newest = int(re.findall(r"\d+", name)[0]), trial.checkpoint(key)
    if newest >= step:
        raise DrillError(f"the checkpoint of step {step} was complete before its writer was killed")
    trial.notes.append(f"killed while the checkpoint of step {step} was written; the one of step {newest} was there")
    trial.finish()
    return at


def _temporary(folder: Path) -> list[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.startswith(".step-")][:1]
    return []


def kill_after_record(trial: Trial, keys: Sequence[str]) -> float:
    """``kill -9`` of the first worker as soon as it has kept stage 2, which it hardly can have told."""
    trial.start()
    trial.reach(keys[1])
    pid = trial.worker(0).pid
    trial.wait_for("the record", (trial.storage / "stages" / keys[1] / "record.json").exists, interval=0.0005)
    at = send(pid, signal.SIGKILL)
    trial.finish()
    return at


def kill_driver(stage: int) -> Callable[[Trial, Sequence[str]], float]:
    """``kill -9`` of the command; its processes must go too; then the same command again."""

    def make(trial: Trial, keys: Sequence[str]) -> float:
        at = cut_off(trial, keys[stage - 1])
        trial.start()
        trial.finish()
        return at

    return make


def cut_off(trial: Trial, key: str) -> float:
    """Start the command and ``kill -9`` it in a stage; its workers must go by themselves.

    Raises:
        DrillError: They do not.
    """
    command = trial.start()
    trial.reach(key)
    workers = [psutil.Process(trial.worker(rank).pid) for rank in range(WORKERS)]
    at = send(command.process.pid, signal.SIGKILL)
    command.process.wait()
    while any(alive(worker) for worker in workers):
        if time.time() - at > LEFT_WITHIN:
            raise DrillError("the workers of a command that was killed are still there")
        time.sleep(0.05)
    trial.notes.append(f"its workers were gone after {time.time() - at:.1f} s")
    return at


def lose_node(trial: Trial, keys: Sequence[str]) -> float:
    """A worker's node goes, that of the driver's mailbox if there is one, and another one comes a little later."""
    with _environment(trial.site.environment):
        from ray.cluster_utils import Cluster

        cluster: Any = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False)
            nodes = [cluster.add_node(num_cpus=1) for _ in range(WORKERS)]
            trial.start("--address", cluster.address)
            trial.reach(keys[1])
            families = [_processes(node) for node in nodes]
            with_mailbox = [any("_QueueActor" in " ".join(p.cmdline()) for p in family) for family in families]
            with_first_worker = [any(p.pid == trial.worker(0).pid for p in family) for family in families]
            place = (with_mailbox if any(with_mailbox) else with_first_worker).index(True)
            lost, family = nodes[place], families[place]
            trial.notes.append(
                f"the lost node had {'the first' if with_first_worker[place] else 'the second'} worker"
                + (" and the mailbox" if with_mailbox[place] else "")
            )
            at = time.time()
            cluster.remove_node(lost, allow_graceful=False)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(5.0)
            cluster.add_node(num_cpus=1)
            trial.finish()
        finally:
            cluster.shutdown()
    return at


def _processes(node: Any) -> list[Any]:
    """What its raylet has started: workers, and actors such as the queue of :class:`orchestrator.mailbox.Mailbox`."""
    found: list[Any] = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
    return found


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Nodes of a cluster take the environment of the process that starts them."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stop_tracking(trial: Trial, keys: Sequence[str]) -> float:
    """The tracking server is killed in stage 2 and comes back a minute later; training goes on meanwhile."""
    server = Server(trial)
    server.start()
    try:
        trial.declare(server.uri)
        trial.start()
        trial.reach(keys[1])
        at = time.time()
        server.stop()
        before = len(trial.worker(0).times)
        slow_down(trial.site.passes, 0.2)  # so that the run is longer than the outage
        trial.wait_for("the end of the outage", lambda: time.time() - at > OUTAGE)
        server.start()
        slow_down(trial.site.passes, trial.site.size.pace)
        passes = len(trial.worker(0).times) - before
        trial.notes.append(f"{passes} training passes in {time.time() - at:.0f} s without a tracking server")
        trial.finish()
    finally:
        server.stop()
    return at


class Server:
    """An MLflow server on this machine alone.

    Args:
        trial: Whose tracking store it serves.
    """

    def __init__(self, trial: Trial) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._trial = trial
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        self._command += ["--backend-store-uri", f"sqlite:///{trial.database}", "--workers", "1"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            DrillError: It does not.
        """
        with (self._trial.folder / "server.txt").open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._trial.folder,
                env=self._trial.site.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            if time.monotonic() > end or self._process.poll() is not None:
                raise DrillError("the tracking server did not start")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it, with all of its processes, by force."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def fill_disk(trial: Trial, keys: Sequence[str]) -> float:
    """The disk of the checkpoints is full for a while; training goes on, and checkpoints later too."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise SkippedError("needs root on Linux, to mount a small disk")
    disk = trial.storage / "checkpoints"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "fault-drill", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise SkippedError(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        command = trial.start()
        trial.reach(keys[1])
        at = time.time()
        with suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(1 << 16))
        trial.wait_for("two checkpoints that fail", lambda: command.said.count("failed, training goes on") >= 2)
        newest = trial.checkpoint(keys[1])
        (disk / "filling").unlink()
        trial.wait_for("a checkpoint after that", lambda: trial.checkpoint(keys[1]) > newest)
        failed = command.said.count("failed, training goes on")
        trial.notes.append(f"{failed} checkpoints failed, the one of step {newest} stayed until there was room again")
        trial.finish()
    finally:
        if trial.commands:
            trial.commands[-1].family.look()
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
    return at


def stop_worker(trial: Trial, keys: Sequence[str]) -> float:
    """``SIGSTOP``: a worker is there and does nothing."""
    trial.start()
    trial.reach(keys[1])
    process = psutil.Process(trial.worker(1).pid)
    at = send(process.pid, signal.SIGSTOP)
    try:
        trial.wait_for("the end of the hung worker", lambda: not alive(process))
        found = time.time() - at
        trial.notes.append(f"found after {found:.0f} s")
        if found > FOUND_WITHIN:
            trial.problems.append(f"the hung worker was found after {found:.0f} s, expected {FOUND_WITHIN:.0f} at most")
        trial.finish()
    finally:
        if alive(process):
            process.kill()
    return at


def send(pid: int, number: signal.Signals) -> float:
    """Send a signal; returns when, in seconds since 1970."""
    at = time.time()
    os.kill(pid, number)
    return at


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        what: What happens, in words.
        make: Runs the experiment in a trial, with the fault, to its end; gets the keys of the stages, and returns when
            the fault happened, in seconds since 1970.
        restarts: Whether workers have to start anew.
    """

    what: str
    make: Callable[[Trial, Sequence[str]], float]
    restarts: bool = True


FAULTS = {
    "worker-stage-1": Fault("kill -9 of a worker in stage 1", kill_worker(stage=1, rank=1)),
    "worker-stage-3": Fault("kill -9 of a worker in stage 3", kill_worker(stage=3, rank=1)),
    "checkpoint": Fault("kill -9 of the first worker while it writes a checkpoint", kill_in_checkpoint),
    "record": Fault("kill -9 of the first worker right after it kept stage 2", kill_after_record),
    "driver": Fault("kill -9 of the command in stage 2, and the same again", kill_driver(stage=2)),
    "node": Fault("loss of a worker's node in stage 2, another one 5 s later", lose_node),
    "tracking": Fault("MLflow server away for a minute", stop_tracking, restarts=False),
    "disk": Fault("disk full for checkpoints", fill_disk, restarts=False),
    "hang": Fault("hung worker (SIGSTOP) in stage 2", stop_worker),
}


def drill(ground: Site, name: str, expected: Undisturbed) -> Outcome:
    """Run the experiment with one fault."""
    fault = FAULTS[name]
    trial = ground.trial(name)
    try:
        return examine(trial, fault, fault.make(trial, expected.content.keys), expected)
    except SkippedError as reason:
        return Outcome(fault.what, skipped=str(reason))
    except DrillError as error:
        return Outcome(fault.what, notes=tuple(trial.notes), problems=(*trial.problems, str(error)))
    finally:
        trial.close()


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown."""
    lines = [
        "| fault | lost steps | recovery s | numbers equal | stages trained twice | records once |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        cells = [outcome.fault, *(["skipped", outcome.skipped, "", "", ""] if outcome.skipped else _cells(outcome))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(outcome: Outcome) -> list[str]:
    if outcome.lost_steps is None:
        return ["failed", "", "", "", ""]
    return [
        str(outcome.lost_steps),
        "–" if outcome.recovery_seconds is None else f"{outcome.recovery_seconds:.0f}",
        "yes" if outcome.equal else "no",
        str(outcome.trained_twice),
        "yes" if outcome.once else "no",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,…", help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument("--folder", default="nmt-runs/fault-drill", help="what runs leave is kept here until the next")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON too")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose among {', '.join(FAULTS)}")
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left then either
    with site(Path(given.folder).absolute()) as ground:
        _say("undisturbed")
        trial = ground.trial("undisturbed")
        try:
            expected = undisturbed(trial)
        except DrillError as error:
            _say(str(error))
            return 1
        finally:
            trial.close()
        for name in names:
            _say(FAULTS[name].what)
            outcomes.append(drill(ground, name, expected))
            for line in (*outcomes[-1].notes, *(f"WRONG: {problem}" for problem in outcomes[-1].problems)):
                _say(f"  {line}")
            if given.json:
                Path(given.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    print(table(outcomes))
    return int(any(outcome.problems for outcome in outcomes))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
