"""Commands of the pages that ``test_documents.py`` runs, word by word."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq

from ._checkout import Checkout
from ._documents import ROOT, blocks_of, prose, text_of

COLLECT = "--collect-only -q" + (" -n 0" if find_spec("xdist") else "")
DRY = {"MAKEFLAGS": "n"}
"""``make`` prints what it would do: with it these tests would start themselves, or packages be downloaded."""

NO_INSTALLATION = "(?i)nothing to be done|up to date"


@dataclass(frozen=True)
class Here:
    """How a command is run, and what it has to do.

    Attributes:
        says: Pattern of what it writes.
        lacks: Pattern of what it must not write.
        variables: Environment variables.
        before: Prepares what the command needs.
        then: Run in the same shell, after the command.
    """

    says: str
    lacks: str = r"\bTraceback\b"
    variables: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Checkout], None] = lambda copy: None
    then: str = ""


def own_table(copy: Checkout) -> None:
    """Write a table, and README's experiment file."""
    columns = {
        "user": [f"u{row % 7}" for row in range(300)],
        "item": [row % 11 for row in range(300)],
        "age": [20.0 + row % 50 for row in range(300)],
        "like": [row % 2 for row in range(300)],
        "finish": [row % 3 % 2 for row in range(300)],
    }
    pq.write_table(pa.table(columns), copy.folder / "my.parquet")
    (file,) = blocks_of("README.md", "yaml")
    (copy.folder / "my.yaml").write_text(file.text)


def log_of_tiktok(copy: Checkout) -> None:
    """Write a thousand rows in TikTok's format."""
    draw = random.Random(0)
    rows = []
    for number in range(1000):
        tokens = [str(draw.randrange(20)) for _ in range(10)]
        rows.append("\t".join([*tokens[:6], str(number % 2), str(number % 3 % 2), *tokens[6:]]))
    (copy.folder / "final_track1_train.txt").write_text("\n".join(rows) + "\n")


def new_loss(copy: Checkout) -> None:
    """Follow "Add a loss": the files of its blocks, and the lines that it adds to the registry."""
    loss, test = blocks_of("CONTRIBUTING.md", "python")
    for block in (loss, test):
        first, _, content = block.text.partition("\n")
        file = copy.folder / first.removeprefix("# ")
        assert not file.exists(), f"{file} is there already"
        file.write_text(content + "\n")
    registry = copy.folder / "trainers" / "registry.py"
    text = registry.read_text()
    page = " ".join(prose(text_of("CONTRIBUTING.md")).split())
    added = re.findall(r'`("\w+": "[\w.:]+")` to `([A-Z_]+)`', page)
    assert {table for _, table in added} == {"LOSSES", "METRIC_OF_LOSS"}
    for line, table in added:
        text, found = re.subn(rf"^{table}: .*\{{$", rf"\g<0>\n    {line},", text, flags=re.MULTILINE)
        assert found == 1, table
    registry.write_text(text)


def a_value(copy: Checkout) -> None:
    """Define a shell function ``value`` that prints its arguments."""
    (copy.folder / "value.sh").write_text('value() { echo "of $*"; }\n')


def collected(*files: str) -> Mapping[str, str]:
    """Return variables with which pytest only lists the tests of some files, since all files take a while."""
    for file in files:
        assert (ROOT / file).exists(), file
    return {"PYTEST_ADDOPTS": " ".join([COLLECT, *files])}


HERE = {
    # README
    "source .venv/bin/activate": Here(says=r"/bin/nmt$", then="command -v nmt"),
    "nmt plan my.yaml": Here(
        says=r"0 │ all tasks together +│ – .*\n.* 1 │ like \+ 0\.3 × later +│ – .*\n.* 2 │ finish +│ like ",
        before=own_table,
    ),
    # orchestrator
    "nmt schema": Here(says=r'"required": \['),
    "nmt schema > nmt.schema.json": Here(says=r"Learning rate of the model's parameters", then="cat nmt.schema.json"),
    # experiments/data
    "nmt data list": Here(says="qk_video"),
    "nmt data prepare tiktok final_track1_train.txt prepared/tiktok": Here(says=r"\b810\b", before=log_of_tiktok),
    "nmt data describe prepared/tiktok": Here(says=r"rate of like[\s\S]*like and finish"),
    # experiments/benchmarks
    "python -m experiments.benchmarks --help": Here(says=r"  step .* min\n[\s\S]*  tasks .* min\n"),
    # CONTRIBUTING
    "make test": Here(says=r"ruff check \.\n.*ruff format --check \.\n.*mypy\n.*-m pytest", variables=DRY),
    "make drill": Here(says=r"-m pytest -m drill", lacks="mypy", variables=DRY),
    "make lint": Here(says=r"mypy$", lacks="pytest|pip", variables=DRY),
    "make": Here(says="make demo .*\n.*make lint"),
    "make install": Here(says=NO_INSTALLATION, lacks="pip"),
    ".venv/bin/pytest tests/test_rooms.py": Here(
        says=r"::test_no_import_crosses_a_wall\n[\s\S]*\b[0-9]+ tests collected", variables=collected()
    ),
    ".venv/bin/pytest tests/test_rooms.py::test_no_import_crosses_a_wall": Here(says=r"\b1 passed in"),
    ".venv/bin/pytest -k multipliers": Here(
        says=r"test_multipliers.py::[\s\S]* tests collected \([0-9]+ deselected\)",
        lacks="test_no_import_crosses_a_wall",
        variables=collected("tests/test_rooms.py", "tests/trainers/algorithm/test_multipliers.py"),
    ),
    '.venv/bin/pytest -m "not ray and not slow"': Here(
        says=r"test_every_command_is_in_one_class[\s\S]* tests collected \([0-9]+ deselected\)",
        lacks="test_arguments_of_modules",
        variables=collected("tests/test_documents.py"),
    ),
    ".venv/bin/pytest tests/trainers/losses": Here(
        says=r"\b9 passed, [0-9]+ deselected in[\s\S]*All checks passed![\s\S]*already formatted",
        lacks="failed|skipped",
        variables={"PYTEST_ADDOPTS": "-k AbsoluteError"},
        before=new_loss,
        then=".venv/bin/ruff check trainers tests/trainers/losses && .venv/bin/ruff format --check trainers/losses",
    ),
    ".venv/bin/ruff format .": Here(says="files left unchanged|files? reformatted"),
    "make lock": Here(says=r"pip-compile[\s\S]*requirements.lock  pyproject.toml", variables=DRY),
    'make lock LOCK_ARGS="--upgrade-package ruff"': Here(
        says="requirements.lock --upgrade-package ruff pyproject.toml", variables=DRY
    ),
    "make lock LOCK_ARGS=--upgrade": Here(says="requirements.lock --upgrade pyproject.toml", variables=DRY),
    # infra
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
"""Command → how it is run."""
