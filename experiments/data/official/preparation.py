"""The preparation of official files: a recipe carried out step by step."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from nmt.experiments.data.common.cache import file_stamp, prepare_once
from nmt.experiments.data.official import vocabulary
from nmt.experiments.data.official.block_map import Map, in_turn
from nmt.experiments.data.official.joins import store_join
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.report import Report
from nmt.experiments.data.official.rows import read_rows, split_rows
from nmt.experiments.data.official.shards import encode_block
from nmt.experiments.data.official.statistics import check_labels, count_block, merge_statistics
from nmt.experiments.data.official.text.blocks import check_files
from nmt.experiments.data.official.vocabularies import write_vocabularies
from nmt.trainers.data.prepared import seal
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.encoding.encoder import ENCODER, write_head
from nmt.trainers.encoding.numbers import NumberColumn

STEPS = 2
"""Version of this preparation, part of every cache key: raise it when the result of a recipe changes."""


def prepare(recipe: Recipe, cache: Path) -> Path:
    """Carry out a recipe in this process; the same files (path, size, time of change) are prepared once.

    Args:
        recipe: The recipe.
        cache: Folder of prepared folders.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file, or too many of its lines, cannot be used.
    """
    check_files(recipe.inputs)
    declared = {key: value for key, value in asdict(replace(recipe, derive=None)).items() if key != "files"}
    declared["derive"] = getattr(recipe.derive, "keywords", None)
    stamps = [file_stamp(path) for path in recipe.inputs]
    key = {"recipe": STEPS, "declared": json.loads(json.dumps(declared, default=_to_json)), "files": stamps}
    return prepare_once(cache, recipe.name, key, lambda folder: build(recipe, folder))


def build(recipe: Recipe, folder: Path, mapped: Map = in_turn) -> Report:
    """Carry out a recipe, whole or not at all.

    Args:
        recipe: The recipe.
        folder: Folder to write. It must not exist, or hold an earlier result, which then stays.
        mapped: Maps a function over blocks.

    Returns:
        What the files contain.

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
        for path in (work, *(target / split for split in SPLITS)):
            path.mkdir(parents=True)
        joined = tuple(store_join(recipe, number, work, report, mapped) for number in range(len(recipe.joins)))
        jobs = read_rows(recipe, work, joined, report, mapped)
        rows = split_rows(recipe, jobs, work)
        parts = -(-rows // vocabulary.ROWS_PER_PART)
        jobs = [replace(job, parts=parts) for job in jobs]
        counted = list(mapped("count", count_block, jobs))
        check_labels(recipe, counted)
        sizes = write_vocabularies(recipe, jobs, work, target, report, mapped)
        statistics = {
            name: merge_statistics(name, [found.numeric[index] for found in counted])
            for index, name in enumerate(recipe.numeric)
        }
        schema = Schema(sizes, statistics, labels=dict(recipe.labels), source=recipe.source)
        texts = dict.fromkeys(recipe.categorical, pa.string())
        numbers = {name: NumberColumn(name in recipe.log1p, found.mean) for name, found in statistics.items()}
        head = write_head(texts, sizes, numbers, {}, None, recipe.min_count, empty_is_missing=recipe.categorical)
        (target / ENCODER).write_bytes(head)
        jobs = [replace(job, schema=schema, target=target) for job in jobs]
        shards = [shard for written in mapped("encode", encode_block, jobs) for shard in written]
        (target / "preparation.json").write_text(json.dumps(asdict(report), indent=1))
        shards.sort(key=lambda shard: (SPLITS.index(shard.split), shard.name))
        seal(target, folder, schema, shards)
        return report
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _to_json(value: object) -> Any:
    return sorted(value) if isinstance(value, frozenset) else str(value)
