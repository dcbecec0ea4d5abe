"""A stage of the Dockerfile, replayed in a folder of this machine: no container, the same commands."""

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

from ._dockerfile import sent
from ._files import ROOT


@dataclass
class Stage:
    """Replays instructions one by one; one that it does not know is an AttributeError.

    Attributes:
        root: The folder that stands for ``/``.
        environment: Variables at the start, and those that ENV and ARG add.
        folder: Where commands run; WORKDIR moves it.
        user: ``uid:gid`` that commands of the finished image run as; USER sets it.
        command: What the finished image runs; CMD sets it.
    """

    root: Path
    environment: dict[str, str]
    folder: Path = field(init=False)
    user: str = "0:0"
    command: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.root

    def replay(self, word: str, rest: str) -> None:
        """Do what one instruction says."""
        getattr(self, f"_{word.lower()}")(rest)

    def inside(self, text: str) -> str:
        """The text with every absolute path moved under ``root``; those in addresses stay."""
        return re.sub(r"(?<![\w./-])/(?=\w)", f"{self.root}/", text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the finished image as its user."""
        return self._call([*_become(self.user), *command])

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
        if default:  # one without comes from the builder, whose settings of pip are there from the start
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
            # Scripts of a virtual environment name its own folder, so it can only go where it was; there it is already.
            assert names[1:] == [target]
            return
        for name in names:
            source = ROOT / name
            found = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
            files = [path for path in found if sent(path.relative_to(ROOT).as_posix())]
            assert files, f"COPY {name}: .dockerignore lets nothing of it through"
            for path in files:
                inner = path.relative_to(source) if source.is_dir() else Path(name).name
                place = self.folder / self.inside(target) / inner
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)

    def _run(self, rest: str) -> None:
        found = self._call(["/bin/sh", "-c", self.inside(rest)])
        assert found.returncode == 0, f"RUN {rest}\n{found.stdout[-2000:]}\n{found.stderr[-4000:]}"

    def _user(self, rest: str) -> None:
        self.user = rest

    def _cmd(self, rest: str) -> None:
        self.command = [word.strip(' "') for word in rest.strip("[]").split(",")]


def _become(user: str) -> list[str]:
    """The start of a command line that gives up root's rights; who is not root has none to give up."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        return []
    uid, gid = user.split(":")
    above = Path(sys.base_prefix).resolve().parents
    # An interpreter in root's home (pyenv) can be read by root alone; in the image it is in /usr/local.
    kept = "" if all(folder.stat().st_mode & stat.S_IXOTH for folder in above) else ",+dac_read_search"
    rights = [f"--{kind}=-all{kept}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return [setpriv, "--reuid", uid, "--regid", gid, "--clear-groups", *rights]
