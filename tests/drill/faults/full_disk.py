"""A full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from tests.drill.errors import SkippedError
from tests.drill.trial import Trial


def fill_disk(trial: Trial, keys: Sequence[str]) -> float:
    """Fill the disk of the checkpoints for a while; training continues, and later checkpoints succeed."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise SkippedError("needs root on Linux, to mount a small disk")
    disk = trial.storage / "checkpoints"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "fault-drill", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise SkippedError(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        command = trial.start()
        trial.reach(keys[1])
        at = time.time()
        with suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(1 << 16))
        trial.wait_for("two failed checkpoints", lambda: command.said.count("failed, training goes on") >= 2)
        newest = trial.checkpoint(keys[1])
        (disk / "filling").unlink()
        trial.wait_for("a checkpoint after there is room again", lambda: trial.checkpoint(keys[1]) > newest)
        failed = command.said.count("failed, training goes on")
        trial.notes.append(f"{failed} checkpoints failed; that of step {newest} was kept until there was room again")
        trial.finish()
    finally:
        if trial.commands:
            trial.commands[-1].family.look()
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
    return at
