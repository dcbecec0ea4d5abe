"""The pages of the repository: their blocks of code, the commands that they give, inline code, links and headings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

NOT_OURS = {".git", ".venv", "nmt-runs", "mlruns", "mlartifacts", "build", "dist", "node_modules"}
"""Folders to skip where git cannot list the files."""

PROGRAMS = ("nmt", "python", "pip", "make", "pytest", "mlflow", "ray", "kubectl", "helm", "docker", "source", "export")
"""Inline code that begins with one of these and has more words is a command; alone it is a program's name."""

_COMMENT = re.compile(r"(?:^|\s)#.*")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")
_QUOTED = re.compile(r"""\\["']|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code; an indented one is bash.

    Attributes:
        page: Path of the page.
        line: Line of its first line of code, from 1.
        language: What stands behind the fence.
        text: The code.
    """

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that a page gives.

    Attributes:
        text: The command without its comment, on one line unless quotes contain a line break.
        page: Path of the page.
        line: Line on which it begins, from 1.
        inline: Whether it is part of a sentence, where arguments may be left out.
    """

    text: str
    page: str
    line: int
    inline: bool


@cache
def files() -> tuple[str, ...]:
    """Return every file that git tracks or would add; without git, every file outside of :data:`NOT_OURS`."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if listing.returncode == 0 and listing.stdout:
            return tuple(sorted(name for name in set(listing.stdout.split("\0")) if (ROOT / name).is_file()))
    found = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in NOT_OURS and not name.endswith(("_cache", "__"))]
        found += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return tuple(sorted(found))


@cache
def pages() -> tuple[str, ...]:
    """Return every Markdown page."""
    return tuple(name for name in files() if name.endswith(".md"))


@cache
def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text()


@cache
def all_commands() -> tuple[Command, ...]:
    """Return the commands of all pages."""
    return tuple(one for page in pages() for one in commands(text_of(page), page))


def blocks_of(page: str, language: str | None = None) -> list[Block]:
    """Return the blocks of a page, or those in one language."""
    return [block for block in blocks(text_of(page), page) if language in (None, block.language)]


def the_command(start: str) -> str:
    """Return the only command that begins like this."""
    (text,) = {command.text for command in all_commands() if command.text.startswith(start)}
    return text


def blocks(text: str, page: str) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a page, in order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = at
        if lines[at].startswith("```"):
            at = next(end for end in range(at + 1, len(lines)) if lines[end].startswith("```"))
            yield Block(page, first + 2, lines[first][3:].strip(), "\n".join(lines[first + 1 : at]))
        elif lines[at].startswith("    ") and not lines[at - 1]:
            while at + 1 < len(lines) and lines[at + 1].startswith("    "):
                at += 1
            yield Block(page, first + 1, "bash", "\n".join(line[4:] for line in lines[first : at + 1]))
        at += 1


def commands(text: str, page: str) -> list[Command]:
    """Return every command of a page: first those of its bash blocks, then those in sentences and tables."""
    in_blocks = [one for block in blocks(text, page) if block.language == "bash" for one in _lines(block)]
    inline = [(" ".join(code.split()), line) for code, line in spans(text)]
    return in_blocks + [Command(code, page, line, inline=True) for code, line in inline if is_command(code.split())]


def spans(text: str) -> Iterator[tuple[str, int]]:
    """Yield inline code, which may span lines, and the line on which it begins."""
    found = prose(text)
    for span in re.finditer(r"`([^`]+)`", found):
        yield span[1], found.count("\n", 0, span.start()) + 1


def links(text: str) -> Iterator[tuple[str, int]]:
    """Yield the targets of links and pictures, and the line on which the link begins."""
    found = prose(text)
    for link in re.finditer(r"\[[^\]]*\]\(([^)\s]+)\)", found):
        yield link[1], found.count("\n", 0, link.start()) + 1


def anchors(text: str) -> set[str]:
    """Return the fragments that lead to the headings of a page, as GitHub derives them."""
    heads = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def prose(text: str) -> str:
    """Return the page with an empty line for each line of its blocks."""
    lines = text.splitlines()
    for block in blocks(text, ""):
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[number] = ""
    return "\n".join("" if line.startswith("```") else line for line in lines)


def is_command(words: list[str]) -> bool:
    """Return whether inline code is a command; ``make`` alone is one, since it lists the targets."""
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return False
    return words[0].startswith(".venv/bin/") or words == ["make"] or (words[0] in PROGRAMS and len(words) > 1)


def _lines(block: Block) -> Iterator[Command]:
    """Yield the commands of a block; open quotes, a backslash or a pipe continue a command on the next line."""
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
            yield Command(text, block.page, begun, inline=False)
            text = ""
    assert not text, f"{block.page}:{begun}: {text!r} does not end"


def _open(text: str) -> bool:
    """Return whether quotes are open at the end."""
    return any(mark in _QUOTED.sub("", text) for mark in "'\"")


def _uncommented(line: str) -> str:
    """Return the line without its comment; a # in quotes does not begin one."""
    hidden = _QUOTED.sub(lambda found: "x" * len(found[0]), line)
    comment = _COMMENT.search(hidden)
    return (line[: comment.start()] if comment else line).rstrip()
