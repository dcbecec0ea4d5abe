"""The instructions of the Dockerfile, and the files that ``.dockerignore`` lets through."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ._files import INFRA, ROOT

DOCKERFILE = INFRA / "image" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile as (word, rest), with continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


def of(kind: str) -> list[str]:
    """Return the rest of each instruction of a kind."""
    return [rest for word, rest in instructions() if word == kind]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, without its FROM."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        else:
            found[-1].append((word, rest))
    return found


def is_sent(name: str) -> bool:
    """Return whether ``.dockerignore`` lets a file through: the last line that matches it or its folders decides."""
    through = True
    path = PurePosixPath(name)
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(pattern, str(part)) for part in (path, *path.parents)):
                through = line.startswith("!")
    return through
