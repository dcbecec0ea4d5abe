"""The user's own modules: those that an experiment names by import path, and what they import from beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.data_source import module_of
from nmt.orchestrator.experiment.own_code import PROJECT, imported_modules, locate
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.user_code import in_packages, is_installed


@dataclass(frozen=True)
class OwnModules:
    """Code that an experiment needs beside the project.

    Attributes:
        places: The user's folders and files, each with the folder that it is imported from.
        installed: Top-level names of packages that are installed here and must be on the cluster too.
    """

    places: tuple[tuple[Path, Path], ...]
    installed: tuple[str, ...]


def import_paths(experiment: Experiment) -> tuple[str, ...]:
    """Return the modules that an experiment names: of its source, model, losses and metrics."""
    modules = [name.partition(":")[0] for name in experiment.component_names if ":" in name]
    if experiment.data.source is not None:
        modules.append(module_of(experiment.data.source.partition(":")[0]))
    return tuple(dict.fromkeys(modules))


def find(experiment: Experiment) -> OwnModules:
    """Find the modules that an experiment names, and the modules beside them that they import.

    Raises:
        RequestError: A module that the experiment names does not exist.
    """
    places: dict[Path, Path] = {}
    installed: dict[str, None] = {}
    wanted = list(dict.fromkeys(module.partition(".")[0] for module in import_paths(experiment)))
    roots: set[Path] = set()
    for name in wanted:
        if name == PROJECT:
            continue
        place = locate(name)
        if place is None:
            raise RequestError(
                f"the experiment names the module {name!r}, which is neither in {Path.cwd()} nor on the Python path; "
                "submit from the folder that holds it, or install it"
            )
        if is_installed(place):
            installed[name] = None
        else:
            places[place] = place.parent
            roots.add(place.parent)
    queue = list(places)
    while queue:
        place = queue.pop()
        root = places[place]
        for name in _imports(place):
            beside = _beside(root, name)
            if beside is not None and name != PROJECT and beside not in places:
                places[beside] = root
                queue.append(beside)
            elif beside is None and (found := locate(name)) is not None and in_packages(found):
                installed[name] = None
    return OwnModules(tuple(sorted(places.items())), tuple(sorted(installed)))


def _beside(root: Path, name: str) -> Path | None:
    if name in sys.stdlib_module_names:
        return None
    if (root / name).is_dir() and any((root / name).glob("*.py")):
        return root / name
    return root / f"{name}.py" if (root / f"{name}.py").is_file() else None


def _imports(place: Path) -> Iterable[str]:
    """Return the top-level names that the files at a place import."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return sorted({name for file in files for name in _imports_of(file)})


def _imports_of(file: Path) -> set[str]:
    try:
        return {name.partition(".")[0] for name in imported_modules(file)}
    except SyntaxError as error:
        raise RequestError(f"{file} is not valid Python: {error}") from error
