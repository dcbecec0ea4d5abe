"""From a recipe to a prepared folder, step by step."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.data.official.block_map import Map, in_turn
from experiments.data.official.blocks import check_files
from experiments.data.official.joins import put_down_join
from experiments.data.official.recipe import Recipe
from experiments.data.official.report import Report
from experiments.data.official.rows import divide, read_rows
from experiments.data.official.shards import encode_block
from experiments.data.official.statistics import check_labels, count_block, merged_statistics
from experiments.data.official.vocabularies import write_vocabularies
from experiments.data.prepared import vocabulary
from experiments.data.prepared.cache import cached
from trainers.data.prepared import seal
from trainers.data.schema import SPLITS, Schema

STEPS = 1
"""Version of what this module makes of a recipe; part of every cache key."""


def prepare(recipe: Recipe, cache: Path) -> Path:
    """Prepare in this process; the same files (path, size, time of change) with the same recipe are prepared once.

    Args:
        recipe: What to make of which files.
        cache: Where the prepared folder goes.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file, or too many of its lines, cannot be used.
    """
    check_files(recipe.inputs)
    stamp = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in recipe.inputs]
    declared = {key: value for key, value in asdict(replace(recipe, derive=None)).items() if key != "files"}
    declared["derive"] = getattr(recipe.derive, "keywords", None)
    key = {"recipe": STEPS, "declared": json.loads(json.dumps(declared, default=_plain)), "files": stamp}
    folder = cached(cache, recipe.name, key)
    if not (folder / "schema.json").exists():
        build(recipe, folder)
    return folder


def build(recipe: Recipe, folder: Path, mapped: Map = in_turn) -> Report:
    """Prepare, whole or not at all.

    Args:
        recipe: What to make of which files.
        folder: Where to; must not exist, or hold an earlier result (which then stays).
        mapped: How blocks are worked on.

    Returns:
        What the files held.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file, or too many of its lines, cannot be used.
    """
    check_files(recipe.inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    work, target = temporary / "work", temporary / "result"
    report = Report(recipe.name, [str(path) for path in recipe.inputs])
    try:
        for place in (work, *(target / split for split in SPLITS)):
            place.mkdir(parents=True)
        joined = tuple(put_down_join(recipe, number, work, report, mapped) for number in range(len(recipe.joins)))
        jobs = read_rows(recipe, work, joined, report, mapped)
        rows = divide(recipe, jobs, work)
        parts = -(-rows // vocabulary.ROWS_PER_PART)
        jobs = [replace(job, parts=parts) for job in jobs]
        counted = list(mapped("count", count_block, jobs))
        check_labels(recipe, counted)
        sizes = write_vocabularies(recipe, jobs, work, target, report, mapped)
        statistics = {
            name: merged_statistics(name, [found.numeric[place] for found in counted])
            for place, name in enumerate(recipe.numeric)
        }
        schema = Schema(sizes, statistics, labels=dict(recipe.labels), source=recipe.source)
        jobs = [replace(job, schema=schema, target=target) for job in jobs]
        shards = [shard for written in mapped("encode", encode_block, jobs) for shard in written]
        (target / "preparation.json").write_text(json.dumps(asdict(report), indent=1))
        shards.sort(key=lambda shard: (SPLITS.index(shard.split), shard.name))
        seal(target, folder, schema, shards)
        return report
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _plain(value: object) -> Any:
    return sorted(value) if isinstance(value, frozenset) else str(value)
