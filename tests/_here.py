"""Commands of the documents that ``test_documents.py`` gives, word by word."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ._checkout import Checkout

COLLECT = "--collect-only -q" + (" -n 0" if find_spec("xdist") else "")
DRY = {"MAKEFLAGS": "n"}
"""``make`` says what it would do: with it these tests would start themselves, or packages be downloaded."""


@dataclass(frozen=True)
class Here:
    """How a command is given, and what has to come of it.

    Attributes:
        says: Pattern of what it writes.
        lacks: Pattern of what it must not write.
        variables: Environment variables.
        before: Makes what the command needs.
        then: Given in the same shell, after the command.
        slow: It takes more than ten seconds.
    """

    says: str = ""
    lacks: str = r"\bTraceback\b"
    variables: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Checkout], None] = lambda copy: None
    then: str = ""
    slow: bool = False


def log_of_tiktok(copy: Checkout) -> None:
    """A thousand rows in TikTok's format."""
    draw = random.Random(0)
    rows = []
    for number in range(1000):
        tokens = [str(draw.randrange(20)) for _ in range(10)]
        rows.append("\t".join([*tokens[:6], str(number % 2), str(number % 3 % 2), *tokens[6:]]))
    (copy.folder / "final_track1_train.txt").write_text("\n".join(rows) + "\n")


def prepared(copy: Checkout) -> None:
    """The same, prepared."""
    log_of_tiktok(copy)
    done = copy.bash("nmt data prepare tiktok final_track1_train.txt prepared/tiktok")
    assert done.returncode == 0, done.stderr


def a_value(copy: Checkout) -> None:
    """A function ``value`` that says what it was asked for."""
    (copy.folder / "value.sh").write_text('value() { echo "of $*"; }\n')


def collected(*files: str) -> Mapping[str, str]:
    """Variables with which pytest only says which tests of some files it would run; all files take a while."""
    for file in files:
        assert (Path(__file__).parents[1] / file).exists(), file
    return {"PYTEST_ADDOPTS": " ".join([COLLECT, *files])}


HERE = {
    # README
    "source .venv/bin/activate": Here(says=r"/bin/nmt$", then="command -v nmt"),
    "nmt data list": Here(says="qk_video"),
    "nmt data prepare tiktok final_track1_train.txt prepared/tiktok": Here(says=r"\b810\b", before=log_of_tiktok),
    "nmt data describe prepared/tiktok": Here(says=r"rate of like[\s\S]*like and finish", before=prepared),
    # CONTRIBUTING
    "make test": Here(says=r"ruff check \.\n.*ruff format --check \.\n.*mypy\n.*-m pytest", variables=DRY),
    "make drill": Here(says=r"-m pytest -m drill", lacks="mypy", variables=DRY),
    "make lint": Here(says=r"mypy$", lacks="pytest|pip", variables=DRY),
    "make": Here(says="make demo .*\n.*make lint"),
    "make install": Here(says="(?i)nothing to be done|up to date", lacks="pip"),
    "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install": Here(
        says="(?i)nothing to be done|up to date", lacks="pip"
    ),
    ".venv/bin/pytest tests/test_rooms.py": Here(says=r"\b[0-9]+ passed in", lacks="failed|skipped", slow=True),
    ".venv/bin/pytest tests/test_rooms.py::test_no_import_crosses_a_wall": Here(says=r"\b1 passed in"),
    ".venv/bin/pytest -k multipliers": Here(
        says=r"test_multipliers.py::[\s\S]* tests collected \([0-9]+ deselected\)",
        lacks="test_no_import_crosses_a_wall",
        variables=collected("tests/test_rooms.py", "tests/trainers/algorithm/test_multipliers.py"),
        slow=True,
    ),
    '.venv/bin/pytest -m "not ray and not slow"': Here(
        says="test_every_command_is_in_one",
        lacks="test_benchmarks_read_it",
        variables=collected("tests/test_documents.py"),
        slow=True,
    ),
    ".venv/bin/ruff format .": Here(says="files left unchanged|files? reformatted"),
    "python -m experiments.benchmarks --help": Here(says=r"  step .* min\n[\s\S]*  tasks .* min\n", slow=True),
    "make lock": Here(says=r"pip-compile[\s\S]*requirements.lock  pyproject.toml", variables=DRY),
    'make lock LOCK_ARGS="--upgrade-package ruff"': Here(
        says="requirements.lock --upgrade-package ruff pyproject.toml", variables=DRY
    ),
    "make lock LOCK_ARGS=--upgrade": Here(says="requirements.lock --upgrade pyproject.toml", variables=DRY),
    # infra/README
    r'grep -rn "your registry\|your bucket" infra/kubernetes': Here(says=r"^infra/kubernetes/\S+:\d+:.*your registry"),
    "cp infra/mlflow/example.env infra/mlflow/.env": Here(
        says="PASSWORD=", then="diff infra/mlflow/example.env infra/mlflow/.env && cat infra/mlflow/.env"
    ),
    "export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=…": Here(
        says=r"^admin:…$", then='echo "$MLFLOW_TRACKING_USERNAME:$MLFLOW_TRACKING_PASSWORD"'
    ),
    # A kubectl that answers with its own words, as Kubernetes keeps them: in base64.
    'value() { kubectl -n nmt get secret "$1" -o "jsonpath={.data.$2}" | base64 -d; }': Here(
        says=r"^-n nmt get secret nmt-mlflow -o jsonpath=\{\.data\.admin-password\}$",
        then='kubectl() { printf %s "$*" | base64 | tr -d "[:space:]"; }; value nmt-mlflow admin-password',
    ),
    'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(value nmt-ray-token auth_token)"': Here(
        says=r"^token:of nmt-ray-token auth_token$",
        before=a_value,
        variables={"BASH_ENV": "value.sh"},
        then='echo "$RAY_AUTH_MODE:$RAY_AUTH_TOKEN"',
    ),
}
"""Command → how it is given."""
