"""Which files a package leaves out: caches, results, and what the user's own ignore files match."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

ALWAYS = (
    ".git/", ".hg/", ".svn/", ".venv/", "venv/", "node_modules/", "__pycache__/", "*.py[cod]", "*.egg-info/",
    ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".hypothesis/", ".ipynb_checkpoints/", ".tox/", ".idea/",
    ".vscode/", ".DS_Store", "nmt-runs/", "mlruns/", "mlartifacts/", "mlflow.db", "mlflow.db-*",
)  # fmt: skip
"""Patterns of files that are never sent, whatever ignore files say."""

IGNORE_FILES = (".gitignore", ".rayignore")


class IgnoreRules:
    """Decides which files below a folder are left out.

    Args:
        root: The folder.
        with_ignore_files: Whether to read ignore files in it, below it, and above it up to the top of the git
            repository.
    """

    def __init__(self, root: Path, with_ignore_files: bool = True) -> None:
        self._root = root
        self._with_ignore_files = with_ignore_files
        self._always = GitIgnoreSpec.from_lines(ALWAYS)
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)

    def __call__(self, path: Path) -> bool:
        """Return whether the file at this path below the root is left out."""
        if self._always.match_file(path.relative_to(self._root).as_posix()):
            return True
        for folder in path.parents if self._with_ignore_files else ():
            spec = self._spec(folder)
            if spec is not None and spec.match_file(path.relative_to(folder).as_posix()):
                return True
            if folder == self._top:
                break
        return False

    def files(self, place: Path) -> Iterator[Path]:
        """Yield the files at or below a place that are sent, by name; links to folders are not followed."""
        if place.is_file():
            if not self(place):
                yield place
            return
        for path in sorted(place.iterdir()):
            if path.is_dir():
                if not path.is_symlink() and not self._always.match_file(f"{path.relative_to(self._root).as_posix()}/"):
                    yield from self.files(path)
            elif path.is_file() and not self(path):
                yield path

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            lines = [
                line
                for name in IGNORE_FILES
                if (folder / name).is_file()
                for line in (folder / name).read_text(errors="replace").splitlines()
            ]
            self._specs[folder] = GitIgnoreSpec.from_lines(lines) if lines else None
        return self._specs[folder]
