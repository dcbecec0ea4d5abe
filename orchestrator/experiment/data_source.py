"""From ``data`` in an experiment file to a prepared folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.own_code import code_of
from nmt.orchestrator.experiment.sections import Data
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Schema
from nmt.trainers.registry import check_options
from nmt.trainers.user_code import describe, place_of


def prepare(data: Data) -> tuple[str, Schema]:
    """Return the prepared folder and its schema. A source takes what it prepared before from its cache.

    Raises:
        RequestError: The source, its options, its input or the prepared folder is invalid.
    """
    try:
        folder = data.path if data.source is None else _run(data, data.source)
        assert folder is not None
        return folder, read_schema(folder)
    except (ValueError, OSError, ImportError) as error:
        raise RequestError(f"data: {error}") from error


def module_of(name: str) -> str:
    """Return the module that an experiment file means by a source's name.

    ``experiments.data.kuairand`` is the product's own source, also where the user has a folder ``experiments/``.
    """
    own = f"nmt.{name}"
    direct = name.startswith("experiments.data.") and name.count(".") == 2
    return own if direct and find_spec(own) is not None else name


def cache_folder(data: Data) -> Path:
    """Return the folder where a source keeps what it prepares.

    Raises:
        ValueError: ``data.cache`` is a URI; sources write to a local or mounted file system.
    """
    assert data.cache is not None
    if "://" in data.cache:
        raise ValueError(
            f"data.cache is {without_credentials(data.cache)}, and data are prepared in a folder, not at a "
            "URI (data.cache is below storage by default); set data.cache to a folder, on a cluster one that every "
            "node mounts at the same path; or write the folder with nmt data prepare, copy it to the object store, and "
            "give it as data.path, without data.source"
        )
    return Path(data.cache)


def _run(data: Data, source: str) -> str:
    function = _resolve(source)
    check_options(f"data.options of {source}", function, data.options, ("path", "cache"))
    required = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in data.options
    ]
    if required:
        raise ValueError(f"data.options of {source} must also give {', '.join(required)}")
    cache = cache_folder(data)
    module = module_of(source.partition(":")[0])
    for digest in code_of([f"{module}:prepare"]).values():  # the user's own: other code may have prepared what is there
        cache /= f"code-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        found = function(data.path, cache, **data.options)
    except Exception as error:
        place = place_of(error)
        if place is None:  # ours have messages for the user
            raise
        what = str(error) if isinstance(error, ValueError) else describe(error)
        raise ValueError(f"data.source {source} failed: {what} ({place})") from error
    if not isinstance(found, str | os.PathLike):
        raise ValueError(
            f"data.source {source} returned a {type(found).__name__}; a source writes a prepared folder and returns "
            "its path. For a table of your own write it to Parquet and use experiments.data.table"
        )
    return os.fspath(found)


def _resolve(source: str) -> Callable[..., Any]:
    module_name, _, attribute = source.partition(":")
    try:
        module = import_module(module_of(module_name))
    except ImportError as error:
        raise ValueError(
            f"data.source {source!r} cannot be imported: {error}; give a module with a 'prepare' function, "
            "such as experiments.data.complete_journey, or your own as 'package.module:callable'"
        ) from error
    function = getattr(module, attribute or "prepare", None)
    if not callable(function):
        raise ValueError(f"data.source {source!r}: module {module_name} has no function {attribute or 'prepare'!r}")
    return function  # type: ignore[no-any-return]
