"""Print the installed packages that the project and some of its extras do not need, so that the image can drop them.

Usage: ``python unneeded.py demo server``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "no-more-tuning"
KEPT = {"pip"}


def required_packages(project: str, extras: Iterable[str]) -> set[str]:
    """Return the canonical names of a project and of all its direct and indirect requirements.

    Args:
        project: Name of an installed package.
        extras: Extras of the project to include.

    Raises:
        PackageNotFoundError: A required package is not installed.
    """
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(project), extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


def main(extras: list[str]) -> None:
    """Print the packages to drop, one per line."""
    installed = {canonicalize_name(found.metadata["Name"]) for found in distributions()}
    print(*sorted(installed - required_packages(PROJECT, extras) - KEPT), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
