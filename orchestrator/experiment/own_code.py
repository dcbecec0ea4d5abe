"""The source of a user's own code: what an import path stands for, with all that it imports from beside itself."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

from nmt.trainers.user_code import is_installed

PROJECT = "nmt"
"""The project's own package. What changes its results is in the keys of stages as the version of the algorithm."""


def code_of(names: Iterable[str]) -> dict[str, str]:
    """Return a hash of the source behind each import path.

    A module's own source counts, that of every module that it imports from the user's own files, however far, and the
    packages that they lie in. Paths count as they are imported, not where they lie, so that the same code has the same
    hash on another machine. Of an installed package its version counts. Imports that a program composes while it runs
    cannot be seen.

    Args:
        names: ``package.module:callable``; the names of built-in components are left out.
    """
    found = {}
    for name in dict.fromkeys(names):
        module, colon, _ = name.partition(":")
        if colon and module.partition(".")[0] != PROJECT and (digest := module_digest(module)) is not None:
            found[name] = digest
    return found


def module_digest(module: str) -> str | None:
    """Return a hash of the source of a module and of what it imports; ``None`` if there is no such module."""
    top = module.partition(".")[0]
    place = locate(top)
    if place is None:
        return None
    if is_installed(place):
        owners = packages_distributions().get(top, [])
        return ", ".join(f"{owner}=={version(owner)}" for owner in sorted(set(owners))) or "installed"
    digest = hashlib.sha256()
    for relative, path in sorted(_closure(module).items()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{relative} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()[:16]


def places_of(name: str) -> list[Path]:
    """Return the user's files and top-level folders that an import path needs; none for what is installed."""
    module, colon, _ = name.partition(":")
    place = locate(module.partition(".")[0]) if colon else None
    if place is None or is_installed(place) or module.partition(".")[0] == PROJECT:
        return []
    tops = {relative.partition("/")[0].removesuffix(".py") for relative in _closure(module)}
    return sorted(found for top in tops if (found := locate(top)) is not None)


def locate(name: str) -> Path | None:
    """Return the folder of a top-level package or the file of a module; ``None`` for a built-in or unknown one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.has_location else None


def imported_modules(file: Path, package: str = "") -> Iterator[str]:
    """Yield the dotted names that a file may import as modules.

    Args:
        file: The file.
        package: Dotted name of the package that it lies in, for relative imports.

    Raises:
        SyntaxError: The file is not valid Python.
    """
    for node in ast.walk(ast.parse(file.read_text(errors="replace"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")


def _closure(module: str) -> dict[str, Path]:
    """Return the files of a module and of all that it imports from the user's own files, by path as imported."""
    files: dict[str, Path] = {}
    queue, seen = [module], {module}
    while queue:
        name = queue.pop()
        parts = name.split(".")
        for count in range(1, len(parts) + 1):  # a package is imported before what lies in it
            found = _source(parts[:count])
            if found is None:
                break
            relative, path, package = found
            if relative in files:
                continue
            files[relative] = path
            try:
                more = set(imported_modules(path, package))
            except SyntaxError:  # whoever imports it says so
                continue
            queue += sorted(more - seen)
            seen |= more
    return files


def _source(parts: list[str]) -> tuple[str, Path, str] | None:
    """Return a module's path as imported, its file, and its package; ``None`` if it is not the user's own."""
    if parts[0] in sys.stdlib_module_names or parts[0] == PROJECT:
        return None
    top = locate(parts[0])
    if top is None or is_installed(top):
        return None
    folder = top.parent.joinpath(*parts)
    name = "/".join(parts)
    if (folder / "__init__.py").is_file():
        return f"{name}/__init__.py", folder / "__init__.py", ".".join(parts)
    if folder.with_suffix(".py").is_file():
        return f"{name}.py", folder.with_suffix(".py"), ".".join(parts[:-1])
    return None
