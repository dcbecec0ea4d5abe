"""A copy of the repository, in which commands are run as a page words them."""

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

from ._documents import ROOT, files

OF_THE_TESTS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "FORCE_COLOR", "NO_COLOR")
"""Variables that the tests themselves were started with, and that would change what a command does."""


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
        """Run a command to its end; if it takes too long, end it and everything that it started."""
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
                out, err = process.communicate(timeout=500)
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(text, process.returncode, out, err)


def checkout(folder: Path) -> Checkout:
    """Copy every file with its times; packages are those of these tests."""
    folder.mkdir()
    for name in files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    # Links one by one, so that the stamp beside them is the copy's own: newer than the lock, nothing is installed.
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "links":  # those of the package nmt lead to the copy's own folders
            (folder / ".venv" / path.name).symlink_to(path)
    subprocess.run(["make", "--silent", ".venv/links/nmt"], cwd=folder, check=True)
    stamp = folder / ".venv" / ".installed"
    stamp.unlink(missing_ok=True)
    stamp.touch()
    kept = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS and "PYTEST" not in name}
    environment = {
        **kept,
        "PATH": f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}/.venv/links{os.pathsep}{folder}",
        "COLUMNS": "100",
        # Should a command want to install after all, it must not touch the packages of these tests.
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
    }
    return Checkout(folder, environment)
