"""Signals to processes of a run: killed or stopped workers, and a killed command."""

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

DETECTED_WITHIN = 60.0
"""Seconds within which a hung worker must be detected."""


def kill_worker(stage: int, rank: int) -> Callable[[Trial, Sequence[str]], float]:
    """``kill -9`` a worker between two checkpoints."""

    def make(trial: Trial, keys: Sequence[str]) -> float:
        trial.start()
        trial.reach(keys[stage - 1])
        at = send_signal(trial.worker(rank).pid, signal.SIGKILL)
        trial.finish()
        return at

    return make


def kill_in_checkpoint(trial: Trial, keys: Sequence[str]) -> float:
    """``kill -9`` the first worker while the temporary file of a checkpoint exists."""
    key = keys[0]
    folder = trial.storage / "checkpoints" / key
    trial.start()
    trial.reach(key, extra=0.8)
    pid = trial.worker(0).pid
    (name,) = trial.wait_for("a half-written checkpoint", lambda: _temporary_file(folder), interval=0.0005)
    at = send_signal(pid, signal.SIGKILL)
    step, newest = int(re.findall(r"\d+", name)[0]), trial.checkpoint(key)
    if newest >= step:
        raise DrillError(f"the checkpoint of step {step} was complete before its writer was killed")
    trial.notes.append(f"killed while the checkpoint of step {step} was written; the newest was that of step {newest}")
    trial.finish()
    return at


def _temporary_file(folder: Path) -> list[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.startswith(".step-")][:1]
    return []


def kill_after_record(trial: Trial, keys: Sequence[str]) -> float:
    """``kill -9`` the first worker as soon as it has saved stage 2, probably before it has reported it."""
    trial.start()
    trial.reach(keys[1])
    pid = trial.worker(0).pid
    trial.wait_for("the record", (trial.storage / "stages" / keys[1] / "record.json").exists, interval=0.0005)
    at = send_signal(pid, signal.SIGKILL)
    trial.finish()
    return at


def kill_driver(stage: int) -> Callable[[Trial, Sequence[str]], float]:
    """``kill -9`` the command, wait for its workers to end, and run the same command again."""

    def make(trial: Trial, keys: Sequence[str]) -> float:
        at = kill_command(trial, keys[stage - 1])
        trial.start()
        trial.finish()
        return at

    return make


def kill_command(trial: Trial, key: str) -> float:
    """Start the command and ``kill -9`` it in a stage; its workers must end by themselves.

    Raises:
        DrillError: They do not end.
    """
    command = trial.start()
    trial.reach(key)
    workers = [psutil.Process(trial.worker(rank).pid) for rank in range(WORKERS)]
    at = send_signal(command.process.pid, signal.SIGKILL)
    command.process.wait()
    while any(alive(worker) for worker in workers):
        if time.time() - at > LEFT_WITHIN:
            raise DrillError("the workers of a killed command still run")
        time.sleep(0.05)
    trial.notes.append(f"its workers ended after {time.time() - at:.1f} s")
    return at


def stop_worker(trial: Trial, keys: Sequence[str]) -> float:
    """``SIGSTOP`` a worker, so that it hangs."""
    trial.start()
    trial.reach(keys[1])
    process = psutil.Process(trial.worker(1).pid)
    at = send_signal(process.pid, signal.SIGSTOP)
    try:
        trial.wait_for("the end of the hung worker", lambda: not alive(process))
        seconds = time.time() - at
        trial.notes.append(f"detected after {seconds:.0f} s")
        if seconds > DETECTED_WITHIN:
            trial.problems.append(
                f"a hung worker was detected after {seconds:.0f} s, allowed are {DETECTED_WITHIN:.0f}"
            )
        trial.finish()
    finally:
        if alive(process):
            process.kill()
    return at


def send_signal(pid: int, number: signal.Signals) -> float:
    """Send a signal, and return the time in seconds since 1970."""
    at = time.time()
    os.kill(pid, number)
    return at
