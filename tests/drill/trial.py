"""A trial: a storage, a tracking store, and the commands that use them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nmt.experiments.benchmarks.steps.call_log import Calls, read_calls
from tests.drill.command import PATIENCE, Command
from tests.drill.counted_model import slow_down
from tests.drill.errors import DrillError
from tests.drill.family import LEFT_WITHIN
from tests.drill.site import TASKS, Site

T = TypeVar("T")

WORKERS = 2

NAME = "fault-drill"


@dataclass
class Trial:
    """A storage, a tracking store, and the commands that use them.

    Attributes:
        site: The site, which all trials share.
        folder: Folder of this trial.
        commands: The commands so far.
        notes: Observations.
        problems: What went wrong in runs that ended.
    """

    site: Site
    folder: Path
    commands: list[Command] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stored: int = 0

    @property
    def storage(self) -> Path:
        """Folder of the stages."""
        return self.folder / "runs"

    @property
    def database(self) -> Path:
        """Database of the tracking store."""
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
                "cache": str(self.site.folder),  # outside the trial, since params in MLflow are compared
                "batch_size": size.batch_size,
            },
            "tasks": [{"name": task, "loss": "binary_cross_entropy", "metric": "auc"} for task in TASKS],
            "model": {
                "name": "tests.drill.counted_model:CountedModel",
                "passes": str(self.site.passes),
            },
            "training": {
                "recipe": "paper",  # one stage per task is enough to fail in
                "violations": "held_out",
                "eta_lambda": 10.0,
                "max_epochs": size.epochs,
                "patience": None,  # every stage has the same number of steps
            },
            "execution": {
                "evaluations_per_epoch": 1,
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
        """Start ``nmt run``."""
        arguments = ["run", str(self.file), "--json", *options]
        self.commands.append(Command(arguments, self.folder, len(self.commands) + 1, self.site.environment))
        self._stored = len(list(self.storage.glob("stages/*/record.json")))
        return self.commands[-1]

    def finish(self) -> dict[str, Any]:
        """Wait for the last command, check its document, and return it.

        Raises:
            DrillError: The command does not end, or fails.
        """
        command = self.commands[-1]
        command.wait()
        left = [line for command in self.commands for line in command.family.end(LEFT_WITHIN)]
        self.problems += [f"a process is left: {line}" for line in left]
        document, other = command.document()
        if other:
            self.problems.append(f"standard output holds text before the JSON document: {other[:80]}…")
        cost = document["cost"]
        if (cost["stages"], cost["stages_reused"]) != (len(TASKS) - self._stored, self._stored):
            self.problems.append(
                f"{self._stored} stages were stored when the last command started, and it reports {cost['stages']} "
                f"trained and {cost['stages_reused']} reused"
            )
        if not document["tracking_complete"]:
            self.problems.append(f"tracking is not complete: {document['tracking_failure']}")
        return document

    def processes(self) -> list[Calls]:
        """Return the training passes of all workers so far, in the order of their first passes.

        Commands try a model of the user's own themselves, before they start workers.
        """
        commands = {command.process.pid for command in self.commands}
        return [calls for calls in read_calls(self.site.passes) if calls.pid not in commands]

    def worker(self, rank: int) -> Calls:
        """Return the training passes of the current worker of a rank."""
        return [process for process in self.processes() if process.rank == rank][-1]

    def checkpoint(self, key: str) -> int:
        """Return the step of the newest checkpoint of a stage; 0 without one."""
        files = (self.storage / "checkpoints" / key).glob("step-*.json")
        return max((int(file.stem.removeprefix("step-")) for file in files), default=0)

    def reach(self, key: str, extra: float = 0.5) -> None:
        """Wait for the second checkpoint of a stage, and then for the share ``extra`` of the steps to the next one.

        Raises:
            DrillError: The stage ended before.
        """
        every = self.site.size.checkpoint_every
        self.wait_for(f"a checkpoint of stage {key}", lambda: self.checkpoint(key) >= 2 * every)
        target = len(self.worker(0).times) + round(extra * every)
        self.wait_for("further steps", lambda: len(self.worker(0).times) >= target)

    def wait_for(self, event: str, holds: Callable[[], T], interval: float = 0.05) -> T:
        """Wait until ``holds`` returns a true value, and return it.

        Raises:
            DrillError: The last command ended before, or the wait is too long.
        """
        command = self.commands[-1]
        end = time.monotonic() + PATIENCE
        looked = 0.0
        while not (found := holds()):
            if command.process.poll() is not None or time.monotonic() > end:
                raise DrillError(f"waited in vain for {event}; the log of the command ends:\n{command.said[-2000:]}")
            if time.monotonic() - looked > 1.0:
                command.family.look()
                looked = time.monotonic()
            time.sleep(interval)
        command.family.look()
        return found

    def close(self) -> None:
        """Kill commands that still run, and move the log of training passes to the trial's folder."""
        for command in self.commands:
            if command.process.poll() is None:
                command.kill()
        if self.site.passes.exists():
            self.site.passes.rename(self.folder / "passes")


@contextmanager
def fresh_trial(site: Site, name: str) -> Iterator[Trial]:
    """Open a trial with an empty storage and an empty tracking store; close it at the end.

    Args:
        site: The site.
        name: Name of its folder, which replaces an earlier one.
    """
    folder = site.folder / name
    for old in (folder, site.passes):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir()
    slow_down(site.passes, site.size.pace)
    shutil.copy(site.folder / "mlflow.db", folder / "mlflow.db")
    trial = Trial(site, folder)
    trial.declare(f"sqlite:///{trial.database}")
    try:
        yield trial
    finally:
        trial.close()
