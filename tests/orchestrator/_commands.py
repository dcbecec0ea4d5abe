"""Commands on the small ranking data, given as a person would, with an eye on every process that they start."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from mlflow import MlflowClient

from nmt.orchestrator.cli import app as cli
from nmt.trainers.store.stage_store import StageStore
from tests.drill.command import Command
from tests.drill.family import psutil
from tests.drill.site import ROOT

TASKS = ("pay", "amount", "relevance")

NOWHERE = "127.0.0.1:1"
"""An address without a cluster: who asks for Ray fails."""

STAGE = 1500 * 2
"""Samples of a stage: lists to train on, times epochs."""

LEFT_WITHIN = 90.0
"""Seconds within which all of a command's processes have to be gone."""


@dataclass
class Project:
    """A folder with an experiment file, its storage and its tracking store.

    Attributes:
        folder: Where everything is.
        environment: Environment variables of every command.
        commands: The commands so far.
    """

    folder: Path
    environment: Mapping[str, str]
    commands: list[Command] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "experiment.yaml"

    @property
    def storage(self) -> Path:
        return self.folder / "runs"

    def start(self, verb: str, *arguments: str, address: str | None = None, json: bool = True) -> Command:
        """Give a command; ``address`` is that of a Ray cluster, without which it starts its own."""
        environment = {**self.environment, **({"RAY_ADDRESS": address} if address else {})}
        words = [verb, str(self.file), *(["--json"] if json else []), *arguments]
        self.commands.append(Command(words, self.folder, len(self.commands) + 1, environment))
        return self.commands[-1]

    def nmt(
        self, verb: str, *arguments: str, address: str | None = None, json: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Give a command and wait for its end."""
        return ended(self.start(verb, *arguments, address=address, json=json))

    def here(
        self, verb: str, *arguments: str, address: str | None = None, json: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Give a command that trains nothing, in this process: a process of its own takes seconds to start."""
        return in_this_process([verb, str(self.file), *(["--json"] if json else []), *arguments], self.folder, address)

    def planned(self, *arguments: str) -> dict[str, Any]:
        """What ``nmt plan`` says, without a process of its own."""
        return read(self.here("plan", *arguments))

    def document(self, verb: str, *arguments: str, address: str | None = None) -> dict[str, Any]:
        """The JSON document of a command, which is all that it writes to standard output."""
        return read(self.nmt(verb, *arguments, address=address))

    def wait_for(self, what: str, holds: Callable[[], Any]) -> Any:
        """Wait until something holds while the last command runs."""
        command = self.commands[-1]
        end = time.monotonic() + 240
        while not (found := holds()):
            assert command.process.poll() is None, f"waited in vain for {what}: {command.said}"
            assert time.monotonic() < end, f"waited too long for {what}: {command.said}"
            command.family.look()
            time.sleep(0.05)
        command.family.look()
        return found

    @property
    def stages(self) -> set[str]:
        """Keys of the finished stages."""
        return {path.parent.name for path in self.storage.glob("stages/*/record.json")}

    @property
    def in_training(self) -> dict[str, int]:
        """Key → process that trains the stage at present: the one that has locked its claim."""
        held = {}
        for path in self.storage.glob("claims/*.lock"):
            for line in Path("/proc/locks").read_text().splitlines():
                _, kind, _, _, pid, place, *_ = line.split()
                if kind == "FLOCK" and int(place.rpartition(":")[2]) == path.stat().st_ino:
                    held[path.stem] = int(pid)
        return held

    def checkpoint(self, key: str) -> int:
        """Step of a stage's newest checkpoint; 0 when there is none."""
        files = (self.storage / "checkpoints" / key).glob("step-*.json")
        return max((int(file.stem.removeprefix("step-")) for file in files), default=0)

    @property
    def trained(self) -> Counter[str]:
        """Stage key → runs in MLflow that say they have trained it to its end."""
        finished = (run for run in [*self.runs("stage"), *self.runs("weights")] if run.info.status == "FINISHED")
        return Counter(run.data.tags["nmt.stage_key"] for run in finished if not reused(run))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, kind: str) -> list[Any]:
        """Runs in MLflow, in the order in which they started."""
        client = self.client
        experiment = client.get_experiment_by_name("ranking")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`nmt.kind` = '{kind}'")
        # Stages that are found one after the other may start in the same millisecond.
        return sorted(found, key=lambda run: (run.info.start_time, run.data.tags["nmt.run_uuid"]))

    def losses(self, split: str) -> dict[str, dict[str, float]]:
        """Stage key → task → loss."""
        store = StageStore(str(self.storage))
        records = {key: store.read(key) for key in self.stages}
        return {key: dict(record.losses[split]) for key, record in records.items() if record is not None}

    def close(self) -> None:
        """End what still runs."""
        for command in self.commands:
            if command.process.poll() is None:
                command.kill()


class Start(Protocol):
    """Makes a project."""

    def __call__(self, name: str, **sections: Any) -> Project: ...


def project(folder: Path, data: Path, database: Path, environment: Mapping[str, str], **sections: Any) -> Project:
    """An experiment of three tasks whose stages have a fixed length, about a second of it."""
    training = {"recipe": "paper", "violations": "held_out", "eta_lambda": 10.0, "max_epochs": 2, "patience": None}
    content = {
        "name": "ranking",
        "data": {"path": str(data), "batch_size": 128},
        "tasks": [{"name": name, "loss": "pairwise_logistic"} for name in TASKS],
        "model": {"name": "scorer", "embedding_dim": 4, "units": [16]},
        "storage": str(folder / "runs"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
        **sections,
        "training": {**training, **sections.get("training", {})},
    }
    shutil.copy(database, folder / "mlflow.db")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(content))
    return Project(folder, environment)


def environment(ray_folder: Path) -> dict[str, str]:
    """Environment variables of commands whose Ray knows nothing of other clusters on this machine."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": str(ray_folder),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


def in_this_process(words: Sequence[str], folder: Path, address: str | None = None) -> subprocess.CompletedProcess[str]:
    """Give a command in this process, as if it were a process of its own in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["nmt", *words])
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("COLUMNS", "120")
        patch.setenv("NO_COLOR", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        if address is not None:
            patch.setenv("RAY_ADDRESS", address)
        with pytest.raises(SystemExit) as end:
            cli.main()
    return subprocess.CompletedProcess(words, int(end.value.code or 0), out.getvalue(), err.getvalue())


def ended(command: Command) -> subprocess.CompletedProcess[str]:
    """Wait for a command's end, and for that of all processes that it started."""
    command.wait()
    left = command.family.end(LEFT_WITHIN)
    assert left == []
    return subprocess.CompletedProcess(
        command.process.args, command.process.returncode, command._out.read_text(), command.said
    )


def read(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON document of a command that ended well."""
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def kill_group(command: Command) -> None:
    """``kill -9`` of a command's whole process group."""
    command.family.look()
    os.killpg(command.process.pid, signal.SIGKILL)
    command.process.wait()


def reused(run: Any) -> bool:
    """Whether a stage's run in MLflow says that it was found."""
    return "nmt.reused_from" in run.data.tags


def end(pid: int) -> None:
    """``kill -9`` of a process."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def ray_cluster(environment: Mapping[str, str]) -> Iterator[str]:
    """A cluster of two CPUs that commands join, which saves them its start; yields its address."""
    code = (
        "import ray, sys; "
        "context = ray.init(num_cpus=2, include_dashboard=False, _node_ip_address='127.0.0.1', log_to_driver=False); "
        "print('address', context.address_info['gcs_address'], flush=True); "
        "sys.stdin.read(); ray.shutdown()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    children: list[Any] = []
    try:
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.startswith("address "))
        yield address
        children = psutil.Process(process.pid).children(recursive=True)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
