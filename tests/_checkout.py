"""A copy of the repository, in which commands are given as a document words them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ._documents import ROOT

LEFT_BEHIND = shutil.ignore_patterns(
    *(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info"),
    *("nmt-runs", "mlruns", "mlartifacts", "mlflow.db*"),
)

OF_THE_TESTS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "FORCE_COLOR", "NO_COLOR")
"""Variables that say how these tests were started, and would change what a command does."""


@dataclass(frozen=True)
class Checkout:
    """The copy.

    Attributes:
        folder: Its top.
        environment: Environment variables of a shell in which ``.venv`` is active.
    """

    folder: Path
    environment: Mapping[str, str]

    def bash(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Give a command and wait for its end; what it started is ended when it takes too long."""
        with subprocess.Popen(
            ["bash", "-c", text],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, said = process.communicate(timeout=500)
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(text, process.returncode, out, said)


def checkout(folder: Path) -> Checkout:
    """Copy what git knows, and what it would be told of, with its times; packages are those of these tests."""
    folder.mkdir()
    _copy(folder)
    # Links one by one, so that the stamp beside them is the copy's own: newer than the lock, nothing is installed.
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    stamp = folder / ".venv" / ".installed"
    stamp.unlink(missing_ok=True)
    stamp.touch()
    kept = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS and "PYTEST" not in name}
    environment = {
        **kept,
        "PATH": f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "COLUMNS": "100",
        # Should a command want to install after all, it must not touch the packages of these tests.
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
    }
    return Checkout(folder, environment)


def _copy(folder: Path) -> None:
    listing = None
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing is None or listing.returncode != 0 or not listing.stdout:
        shutil.copytree(ROOT, folder, ignore=LEFT_BEHIND, dirs_exist_ok=True)
        return
    for name in listing.stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
