"""Signals to processes of a run: workers that are killed or stopped, and a command that is killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.drill.errors import DrillError
from tests.drill.family import LEFT_WITHIN, alive, psutil
from tests.drill.trial import WORKERS, Trial

FOUND_WITHIN = 60.0
"""Seconds within which a hung worker has to be found."""


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
