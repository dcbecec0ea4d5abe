"""Packages that a cluster must have: the version ranges that the project declares, and the versions installed here.

A cluster's image usually has Ray, torch and more, built for its own accelerators, so by default nothing is installed:
the job first compares the image with these requirements and reports what is missing. On request Ray installs the pinned
versions on every node, except Ray itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from nmt.orchestrator.errors import RequestError

DISTRIBUTION = "no-more-tuning"

REQUIREMENTS = "requirements.json"
"""Name of their file in a job's package."""

_NOT_ON_A_CLUSTER = frozenset({"dev"})
_OF_THE_IMAGE = frozenset({"ray"})
"""Never pinned: a job runs on the cluster's own Ray."""


@dataclass(frozen=True)
class Requirements:
    """Requirements of a job.

    Attributes:
        ranges: Required package → versions that the project allows, such as ``>=2.6``.
        here: Required package → version on the submitting machine.
        pins: ``name==version`` of these and their dependencies, without Ray and its dependencies.
    """

    ranges: Mapping[str, str]
    here: Mapping[str, str]
    pins: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {"ranges": dict(self.ranges), "here": dict(self.here)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Requirements:
        """Read what :meth:`to_dict` wrote; it has no pins."""
        return cls(content["ranges"], content["here"], ())


@dataclass(frozen=True)
class Mismatch:
    """A package that an image lacks, or has in another version.

    Attributes:
        name: The package.
        found: Version in the image; ``None`` when it is missing.
        wanted: Range that the project allows.
        here: Version on the submitting machine.
    """

    name: str
    found: str | None
    wanted: str
    here: str

    @property
    def is_fatal(self) -> bool:
        """Whether the project cannot run with that image."""
        return self.found is None or not Requirement(f"x{self.wanted}").specifier.contains(self.found, prereleases=True)

    def __str__(self) -> str:
        what = "is missing" if self.found is None else f"is {self.found}"
        return (
            f"{self.name} {what} ({self.wanted or 'any version'} is needed, {self.here} is on the submitting machine)"
        )


def local_requirements(also: Sequence[str] = ()) -> Requirements:
    """Return the project's requirements with the versions installed here.

    Args:
        also: Top-level names of further packages that the user's own modules import.

    Raises:
        RequestError: A package that the project needs is not installed here.
    """
    direct = [needed for needed in _declared() if _applies(needed)]
    from importlib.metadata import packages_distributions

    owners = packages_distributions() if also else {}
    direct += [Requirement(owners[name][0]) for name in also if name in owners]
    ranges = {needed.name: str(needed.specifier) for needed in direct}
    try:
        here = {name: _public(version(name)) for name in ranges}
    except PackageNotFoundError as error:
        raise RequestError(f"{error.name} is not installed here; pip install {DISTRIBUTION}") from error
    extras = [needed for needed in _declared(extras=True) if _is_installed(needed.name)]
    wanted = [needed for needed in (*direct, *extras) if _key(needed.name) not in _OF_THE_IMAGE]
    return Requirements(ranges, here, tuple(sorted(f"{name}=={found}" for name, found in _closure(wanted).items())))


def compare(requirements: Requirements) -> tuple[Mismatch, ...]:
    """Return the packages that this machine lacks, or has in another version than the submitting machine."""
    found = {name: _version_or_none(name) for name in requirements.ranges}
    return tuple(
        Mismatch(name, there, requirements.ranges[name], requirements.here[name])
        for name, there in found.items()
        if there != requirements.here[name]
    )


def _declared(*, extras: bool = False) -> list[Requirement]:
    """Return the project's declared requirements, or with ``extras`` those of the extras that serve on a cluster."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        lines = _declared_in_checkout()
    found = [Requirement(line) for line in lines]
    if not extras:
        return [needed for needed in found if "extra" not in str(needed.marker or "")]
    return [
        needed
        for needed in found
        if (extra := re.search(r"extra == ['\"]([^'\"]+)", str(needed.marker or "")))
        and extra[1] not in _NOT_ON_A_CLUSTER
    ]


def _declared_in_checkout() -> list[str]:
    file = Path(__file__).parents[2] / "pyproject.toml"
    if not file.is_file():
        raise RequestError(
            f"the requirements are unknown: {DISTRIBUTION} is not installed, and there is no {file}; install it"
        )
    project = tomllib.loads(file.read_text())["project"]
    optional = project.get("optional-dependencies", {})
    return [
        *project["dependencies"],
        *(f'{line}; extra == "{extra}"' for extra, lines in optional.items() for line in lines),
    ]


def _closure(wanted: Iterable[Requirement]) -> dict[str, str]:
    """Return the installed versions of requirements and all their dependencies, by normalised name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = list(wanted)
    while queue:
        needed = queue.pop()
        mark = (_key(needed.name), frozenset(needed.extras))
        if mark in seen or mark[0] in _OF_THE_IMAGE or not _is_installed(needed.name):
            continue
        seen.add(mark)
        found[mark[0]] = _public(version(needed.name))
        queue.extend(_dependencies(needed))
    return found


def _dependencies(owner: Requirement) -> Iterator[Requirement]:
    for line in requires(owner.name) or []:
        needed = Requirement(line)
        if any(_applies(needed, extra) for extra in ("", *owner.extras)):
            yield needed


def _applies(needed: Requirement, extra: str = "") -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


def _version_or_none(name: str) -> str | None:
    try:
        return _public(version(name))
    except PackageNotFoundError:
        return None


def _is_installed(name: str) -> bool:
    return _version_or_none(name) is not None


def _public(found: str) -> str:
    """Return a version without its local part: torch's CPU and CUDA builds are one release."""
    return found.partition("+")[0]


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
