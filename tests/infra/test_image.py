"""The container image: it installs as ``make install`` does, and the files that it copies exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ._dockerfile import instructions, is_sent, of
from ._files import INFRA, ROOT, locked


def makefile_steps() -> list[str]:
    """Return the pip commands of ``make install`` as the Dockerfile would write them."""
    makefile = (ROOT / "Makefile").read_text()
    steps = re.findall(r"^\t\$\(PIP\) install --quiet (.+)$", makefile, flags=re.MULTILINE)
    return [f"pip install {step}" for step in steps]


class TestDockerfile:
    def test_installs_as_make_install_does(self) -> None:
        steps = [step for line in of("RUN") for step in line.split("&&") if step.strip().startswith("pip install")]
        (torch,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert f"TORCH={torch}" in of("ARG")
        known = {'"${TORCH}"': "'$(TORCH)'"}
        expected = [step.replace("--editable .", ".") for step in makefile_steps()]
        assert [" ".join(known.get(word, word) for word in step.split()) for step in steps] == expected
        assert any("pip check" in line for line in of("RUN"))

    def test_packages_come_from_the_index_of_pip_s_own_settings(self) -> None:
        assert {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"} <= set(of("ARG"))
        assert "index-url" not in " ".join(of("RUN"))

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


@pytest.mark.parametrize("path", sorted(path for path in INFRA.rglob("*") if path.is_file()), ids=str)
def test_no_file_names_the_host_of_a_package_index(path: Path) -> None:
    found = re.findall(r"pypi\.org|pythonhosted|download\.pytorch|/simple\b|/whl/", path.read_text())
    assert found == []


def test_the_lock_has_what_the_server_needs() -> None:
    assert {"boto3", "flask-wtf", "psycopg", "psycopg-binary", "mlflow", "ray"} <= set(locked())


def test_every_locked_file_has_a_hash() -> None:
    """``--require-hashes`` needs one for each file."""
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked())
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]


def test_dockerignore_lets_nothing_private_through() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert not any(Path(name).name.startswith(".") for name in kept)
    assert "infra/mlflow" not in kept
    for name in (
        "infra/mlflow/.env",
        ".git/config",
        "nmt-runs/x/chain.json",
        "trainers/__pycache__/a.pyc",
        "experiments/b.png",
    ):
        assert not is_sent(name), name
    assert is_sent("trainers/multipliers.py")
    assert is_sent("infra/image/unneeded.py")
