"""What README, CONTRIBUTING and ``infra/README.md`` tell a reader to type: their blocks, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "infra/README.md")

PROGRAMS = ("nmt", "python", "make", "pytest", "ray", "kubectl", "helm", "docker", "source")
"""Inline code that begins with one of these and goes on is a command; alone it is the program's name."""

_COMMENT = re.compile(r"(?:^|\s)#.*")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")


@dataclass(frozen=True)
class Block:
    """A block of code; an indented one is bash.

    Attributes:
        document: Path of the document.
        line: Line of its first line of code, from 1.
        language: What stands behind the fence.
        text: The code.
    """

    document: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that a document gives.

    Attributes:
        text: Its words: no comment, and one line unless a quotation holds a break.
        document: Path of the document.
        line: Line on which it begins, from 1.
        inline: It stands in a sentence, where arguments may be left out.
    """

    text: str
    document: str
    line: int
    inline: bool


def blocks(text: str, document: str) -> Iterator[Block]:
    """The fenced and the indented blocks of a document, in order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = at
        if lines[at].startswith("```"):
            at = next(end for end in range(at + 1, len(lines)) if lines[end].startswith("```"))
            yield Block(document, first + 2, lines[first][3:].strip(), "\n".join(lines[first + 1 : at]))
        elif lines[at].startswith("    ") and not lines[at - 1]:
            while at + 1 < len(lines) and lines[at + 1].startswith("    "):
                at += 1
            yield Block(document, first + 1, "bash", "\n".join(line[4:] for line in lines[first : at + 1]))
        at += 1


def commands(text: str, document: str) -> list[Command]:
    """Every command of a document: those of its bash blocks, then those in its sentences and tables."""
    found = list(blocks(text, document))
    inline = list(_spans(text, document, found))
    return [one for block in found if block.language == "bash" for one in _lines(block)] + inline


def all_commands() -> list[Command]:
    """The commands of all documents."""
    return [one for document in DOCUMENTS for one in commands((ROOT / document).read_text(), document)]


def all_blocks(document: str) -> list[Block]:
    """The blocks of one document."""
    return list(blocks((ROOT / document).read_text(), document))


def the_command(start: str) -> str:
    """The words of the only command that begins so."""
    (text,) = {command.text for command in all_commands() if command.text.startswith(start)}
    return text


def _lines(block: Block) -> Iterator[Command]:
    """Commands of a block: a line, with those after it while a quotation is open or a backslash or a pipe ends it."""
    text, begun = "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        begun = begun if text else number
        text += line if _open(text) else _uncommented(line).lstrip()
        if _open(text):
            text += "\n"
        elif text.endswith("\\"):
            text = text[:-1].rstrip() + " "
        elif text.endswith("|"):
            text += " "
        elif text:
            yield Command(text, block.document, begun, inline=False)
            text = ""
    assert not text, f"{block.document}:{begun}: {text!r} does not end"


def _open(text: str) -> bool:
    """Whether a quotation is open at the end."""
    return any(mark in _QUOTED.sub("", text) for mark in "'\"")


_QUOTED = re.compile(r"""\\["']|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)


def _uncommented(line: str) -> str:
    """The line without its comment; a # in a quotation begins none."""
    hidden = _QUOTED.sub(lambda found: "x" * len(found[0]), line)
    comment = _COMMENT.search(hidden)
    return (line[: comment.start()] if comment else line).rstrip()


def _spans(text: str, document: str, found: list[Block]) -> Iterator[Command]:
    """Inline code that is a command; it may go over the end of a line."""
    lines = text.splitlines()
    for block in found:
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[number] = ""
    prose = "\n".join("" if line.startswith("```") else line for line in lines)
    for span in re.finditer(r"`([^`]+)`", prose):
        words = span[1].split()
        if is_command(words):
            yield Command(" ".join(words), document, prose.count("\n", 0, span.start()) + 1, inline=True)


def is_command(words: list[str]) -> bool:
    """Whether inline code is a command; ``make`` alone is one, for it lists the targets."""
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return False
    return words[0].startswith(".venv/bin/") or words == ["make"] or (words[0] in PROGRAMS and len(words) > 1)
