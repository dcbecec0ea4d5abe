"""A stage of the Dockerfile replayed without a container: the same commands in a folder of this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from ._dockerfile import is_sent
from ._files import ROOT


@dataclass
class Stage:
    """Replays instructions one by one; an unknown one raises an AttributeError.

    Attributes:
        root: The folder that stands for ``/``.
        environment: Environment variables, to which ENV and ARG add. An ARG without a default takes the value that is
            there, as from ``--build-arg``.
        folder: Working directory; WORKDIR changes it.
        user: ``uid:gid`` of the finished image's commands; USER sets it.
        command: Command of the finished image; CMD sets it.
    """

    root: Path
    environment: dict[str, str]
    folder: Path = field(init=False)
    user: str = "0:0"
    command: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.root

    def replay(self, word: str, rest: str) -> None:
        """Replay one instruction."""
        getattr(self, f"_{word.lower()}")(rest)

    def inside(self, text: str) -> str:
        """Return a text with each absolute path moved under ``root``, except in URLs."""
        return re.sub(r"(?<![\w./-])/(?=\w)", f"{self.root}/", text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the finished image as its user."""
        return self._call([*_drop_privileges(self.user), *command])

    def _call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _arg(self, rest: str) -> None:
        name, default, value = rest.partition("=")
        if default:
            self.environment[name] = value

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.environment[name] = Template(self.inside(value)).substitute(self.environment)

    def _workdir(self, rest: str) -> None:
        self.folder = self.folder / self.inside(rest)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *names, target = shlex.split(rest)
        if names[0].startswith("--from="):
            # A virtual environment cannot be moved, since its scripts name its folder; it is in place already.
            assert names[1:] == [target]
            return
        for name in names:
            source = ROOT / name
            found = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
            files = [path for path in found if is_sent(path.relative_to(ROOT).as_posix())]
            assert files, f"COPY {name}: .dockerignore lets nothing of it through"
            for path in files:
                inner = path.relative_to(source) if source.is_dir() else Path(name).name
                copy = self.folder / self.inside(target) / inner
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)

    def _run(self, rest: str) -> None:
        found = self._call(["/bin/sh", "-c", self.inside(rest)])
        assert found.returncode == 0, f"RUN {rest}\n{found.stdout[-2000:]}\n{found.stderr[-4000:]}"

    def _user(self, rest: str) -> None:
        self.user = rest

    def _cmd(self, rest: str) -> None:
        self.command = [word.strip(' "') for word in rest.strip("[]").split(",")]


def _drop_privileges(user: str) -> list[str]:
    """Return the start of a command line that drops root's privileges; without root there are none to drop."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        return []
    uid, gid = user.split(":")
    above = Path(sys.base_prefix).resolve().parents
    # Only root can read an interpreter in root's home (pyenv); in the image it is in /usr/local.
    kept = "" if all(folder.stat().st_mode & stat.S_IXOTH for folder in above) else ",+dac_read_search"
    rights = [f"--{kind}=-all{kept}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return [setpriv, "--reuid", uid, "--regid", gid, "--clear-groups", *rights]
