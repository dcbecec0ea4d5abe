"""README and runbook: the program has the messages that they quote, and the files that they name exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from ._files import INFRA, KUBERNETES, OVERLAYS, ROOT

README = (INFRA / "README.md").read_text()
RUNBOOK = (INFRA / "RUNBOOK.md").read_text()


@cache
def program_texts() -> str:
    """Return all string literals of the program, with … in place of values."""
    found = []
    for room in ("orchestrator", "trainers"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def quoted() -> list[str]:
    """Return the messages in the runbook's table of the program."""
    section = RUNBOOK.partition("## The program")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_there_are_messages() -> None:
    assert len(quoted()) > 10


@pytest.mark.parametrize("message", quoted())
def test_the_program_says_so(message: str) -> None:
    pattern = r"[^\n]*?".join(re.escape(part) for part in message.split("…"))
    assert re.search(pattern, program_texts()), message


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(name: str) -> None:
    assert (INFRA / name).exists()


def test_commands_name_files_that_are_there() -> None:
    for name in re.findall(r"(?<!/)\b(?:tests/)?infra/[\w./-]+", README + RUNBOOK):
        if name != "infra/mlflow/.env":
            assert (ROOT / name.rstrip(".")).exists(), name


def test_every_overlay_is_told_of() -> None:
    for overlay in OVERLAYS:
        assert overlay in README + RUNBOOK or f"infra/kubernetes/{overlay}" in README or "job/gpu" in README
        assert (KUBERNETES / overlay / "kustomization.yaml").exists()
