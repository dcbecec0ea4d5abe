"""README and runbook: the program has the messages that they quote, and they describe every overlay.

``tests/test_documents.py`` checks their commands, links and files, as on every page.
"""

from __future__ import annotations

import ast
import re

from ._files import INFRA, KUBERNETES, OVERLAYS, ROOT

README = (INFRA / "README.md").read_text()
RUNBOOK = (INFRA / "RUNBOOK.md").read_text()


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


def is_quoted(message: str, texts: str) -> bool:
    """Return whether the program has a message; … stands for any value."""
    return bool(re.search(r"[^\n]*?".join(re.escape(part) for part in message.split("…")), texts))


def test_the_program_writes_every_message_of_the_runbook() -> None:
    section = RUNBOOK.partition("## The program")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)
    assert len(messages) > 10
    texts = program_texts()
    assert [message for message in messages if not is_quoted(message, texts)] == []


def test_a_message_that_nobody_writes() -> None:
    assert is_quoted("the loss of … is …", "the loss of … is …, found")
    assert not is_quoted("the loss of … was …", "the loss of … is …, found")


def test_every_overlay_is_described() -> None:
    for overlay in OVERLAYS:
        assert overlay in README, overlay
        assert (KUBERNETES / overlay / "kustomization.yaml").exists()
