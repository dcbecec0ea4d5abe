"""Data sources by short name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.data_source import module_of
from nmt.trainers.registry import did_you_mean

PACKAGE = "nmt.experiments.data"

SOURCES: Mapping[str, str] = {
    "tiktok": "final_track1_train.txt (TSV), or its folder",
    "qk_video": "ctr_data_1M.csv, or its folder",
    "kuairand": "folder with the CSV files of Pure, 1K or 27K; or Parquet",
    "adult": "folder with adult.data and adult.test; or Parquet",
    "toxcast": "Parquet",
    "complete_journey": "- (the installed wheel); or a folder with its tables",
    "digits": "- (scikit-learn's images)",
    "conflict": "- (synthetic)",
    "table": "your own Parquet file or folder, with a split column",
}
"""Short name of a module of :data:`PACKAGE` → its input."""


@dataclass(frozen=True)
class Source:
    """A data source.

    Attributes:
        name: Name in the request.
        recipe: Declares how official files are prepared in parallel; ``None`` for a source without a recipe.
        prepare: Prepares a data set in one process.
    """

    name: str
    recipe: Callable[..., Any] | None
    prepare: Callable[..., Any]

    @property
    def about(self) -> str:
        """First line of its module's docstring."""
        return (inspect.getdoc(import_module(self.prepare.__module__)) or "").partition("\n")[0]


def find(name: str) -> Source:
    """Return a source by its short name, or as ``package.module`` or ``package.module:callable``.

    Raises:
        RequestError: There is no such source.
    """
    path, _, attribute = name.partition(":")
    if name in SOURCES:
        path = f"{PACKAGE}.{name}"
    elif "." not in path:
        raise RequestError(
            f"there is no data source {name!r}{did_you_mean(name, SOURCES)}; choose one of {', '.join(SOURCES)}, or "
            "name your own as package.module or package.module:callable"
        )
    try:
        module: ModuleType = import_module(module_of(path))
    except ImportError as error:
        raise RequestError(f"data source {name!r} cannot be imported: {error}") from error
    prepare = getattr(module, attribute or "prepare", None)
    if not callable(prepare):
        raise RequestError(f"data source {name!r}: module {path} has no function {attribute or 'prepare'!r}")
    return Source(name, None if attribute else getattr(module, "recipe", None), prepare)
