"""Prints the installed packages that the project, with some of its extras, does not need; the image leaves them out.

Usage: ``python unneeded.py demo server``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import distribution, distributions

from packaging.requirements import Requirement

PROJECT = "no-more-tuning"
KEPT = {"pip"}


def normalised(name: str) -> str:
    """A package's name as it is compared: ``Flask_WTF`` is ``flask-wtf``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(project: str, extras: Iterable[str]) -> set[str]:
    """The project and all that it needs, directly or not.

    Args:
        project: Name of an installed package.
        extras: Its extras that are wanted.

    Raises:
        PackageNotFoundError: A package that is needed is not installed.
    """
    found: set[tuple[str, str]] = set()
    waiting = [(normalised(project), extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(normalised(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


def main(extras: list[str]) -> None:
    """Print the packages to leave out, one a line."""
    installed = {normalised(found.metadata["Name"]) for found in distributions()}
    print(*sorted(installed - needed(PROJECT, extras) - KEPT), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
