"""``nmt data prepare``: writes a prepared folder from official files."""

from __future__ import annotations

import inspect
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from nmt.experiments.data.official.block_map import Map, in_turn
from nmt.experiments.data.official.preparation import build
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.report import Report
from nmt.orchestrator.cluster.ray_cluster import address_in_use, cluster
from nmt.orchestrator.data.block_progress import BlockProgress
from nmt.orchestrator.data.ray_blocks import map_on_ray
from nmt.orchestrator.data.sources import Source
from nmt.orchestrator.errors import RequestError, RunError
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Schema
from nmt.trainers.registry import check_options

RAY_BYTES = 1 << 30
"""Input in bytes above which Ray is used; starting Ray takes as long as preparing half of that in one process."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        folder: Path of the folder.
        schema: Its columns.
        report: Report on the input files; ``None`` for a source that prepares in one process.
        on_ray: Whether Ray was used.
        seconds: Wall time.
    """

    folder: str
    schema: Schema
    report: Report | None
    on_ray: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the document of ``--json``."""
        return {
            "folder": self.folder,
            "rows": dict(self.schema.rows),
            "examples": dict(self.schema.examples),
            "categorical": dict(self.schema.categorical),
            "numeric": list(self.schema.numeric),
            "labels": dict(self.schema.labels),
            "fingerprint": self.schema.fingerprint,
            "report": None if self.report is None else asdict(self.report),
            "on_ray": self.on_ray,
            "seconds": self.seconds,
        }


def prepare(
    source: Source,
    path: str | None,
    output: str,
    options: Mapping[str, Any],
    console: Console,
    *,
    parallel: bool | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> Prepared:
    """Prepare a data set, complete or not at all.

    Args:
        source: The data source.
        path: Path of the input; ``None`` for a source without input.
        output: The folder to write; must not exist.
        options: Options of the source.
        console: Console for progress.
        parallel: Whether to use Ray; with ``None``, for :data:`RAY_BYTES` of input or more, or with an address.
        address: Ray cluster to join.
        verbose: Whether to print Ray's own log.

    Raises:
        RequestError: The input, an option or the output cannot be used.
        RunError: Ray or the disk failed.
    """
    folder = Path(output).expanduser().absolute()
    if folder.exists():
        raise RequestError(f"{output} exists already; name another folder, or remove it")
    started = time.monotonic()
    try:
        recipe = _recipe(source, path, options)
        if recipe is None:
            if parallel:
                raise RequestError(f"{source.name} prepares this input in one process; leave out --ray")
            _in_one_process(source, path, folder, options)
            report, use_ray = None, False
        else:
            size = sum(file.stat().st_size for file in recipe.inputs if file.exists())
            use_ray = parallel if parallel is not None else size >= RAY_BYTES or bool(address)
            report = _in_blocks(recipe, folder, console, use_ray, address, verbose)
    except (ValueError, FileNotFoundError, ImportError) as error:
        raise RequestError(f"data: {error}") from error
    except OSError as error:
        raise RunError(f"{error}; nothing was written to {output}") from error
    return Prepared(str(folder), read_schema(str(folder)), report, use_ray, time.monotonic() - started)


def _recipe(source: Source, path: str | None, options: Mapping[str, Any]) -> Recipe | None:
    """Return the source's recipe for this input; ``None`` where the source prepares the input itself."""
    if source.recipe is not None:
        official = getattr(inspect.getmodule(source.recipe), "is_official", None)
        if official is None or path is None or official(path):
            check_options(f"options of {source.name}", source.recipe, options, ("path",))
            recipe = source.recipe(path, **options)
            assert isinstance(recipe, Recipe)
            return recipe
    check_options(f"options of {source.name}", source.prepare, options, ("path", "cache"))
    return None


def _in_blocks(
    recipe: Recipe, folder: Path, console: Console, parallel: bool, address: str | None, verbose: bool
) -> Report:
    with ExitStack() as stack:
        if parallel:
            stack.enter_context(cluster(address_in_use(address), verbose))
        progress = stack.enter_context(BlockProgress(console))
        block_map: Map = partial(map_on_ray, verbose=verbose) if parallel else in_turn

        def map_with_progress(step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
            return progress.follow(step, block_map(step, function, items), len(items))

        return build(recipe, folder, map_with_progress)


def _in_one_process(source: Source, path: str | None, folder: Path, options: Mapping[str, Any]) -> None:
    required = [
        p.name
        for p in inspect.signature(source.prepare).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in options
    ]
    if required:
        raise RequestError(f"options of {source.name} lack {', '.join(required)}; give --option {required[0]}=…")
    folder.parent.mkdir(parents=True, exist_ok=True)
    cache = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    cache.mkdir()
    try:
        Path(source.prepare(path, cache, **options)).rename(folder)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
