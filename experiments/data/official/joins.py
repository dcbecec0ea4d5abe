"""Joins: tables of features stored on disk, and their features of a block's ids."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from nmt.experiments.data.official import lookup
from nmt.experiments.data.official.block_job import BlockJob, create_jobs
from nmt.experiments.data.official.block_map import Map
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.report import BlockReport, Report, add_blocks
from nmt.experiments.data.official.row_checks import drop_rows_without_numbers
from nmt.experiments.data.official.text.lines import parse, parse_numbers


def store_join(recipe: Recipe, number: int, work: Path, report: Report, mapped: Map) -> int:
    """Store a table of features and the index of its ids.

    Args:
        recipe: The recipe.
        number: Number of the join in the recipe.
        work: Folder of temporary files.
        report: The report that its files are added to.
        mapped: Maps a function over blocks.

    Returns:
        The number of its blocks.

    Raises:
        ValueError: A file, or too many of its lines, cannot be used.
    """
    join = recipe.joins[number]
    jobs = create_jobs(recipe, work, join.files, join.columns)
    add_blocks(recipe, jobs, mapped("join", partial(_join_block, number), jobs), report)
    lookup.build_index([_rows_path(work, number, block) for block in range(len(jobs))], _index_path(work, number))
    return len(jobs)


def _join_block(number: int, job: BlockJob) -> BlockReport:
    join = job.recipe.joins[number]
    lines = parse(job.block.read(), replace(job.recipe.form, quotes=True), job.names, join.columns)
    drop_rows_without_numbers(lines, (join.key, *join.numbers), optional=join.numbers)
    lookup.write_block(lines.table, join, _rows_path(job.work, number, job.number))
    return BlockReport.of(lines, rows=len(lines.number))


def joined_features(job: BlockJob, number: int, ids: pa.Array) -> dict[str, Any]:
    """Return the features of a column of ids, under their names in the recipe; numeric features as numbers.

    Args:
        job: The block of the ids.
        number: Number of the join in the recipe.
        ids: The ids, as a dictionary column of text.
    """
    join = job.recipe.joins[number]
    paths = [_rows_path(job.work, number, block) for block in range(job.joined[number])]
    found = lookup.look_up(ids, join, _index_path(job.work, number), paths)
    numbers = [join.renamed.get(name, name) for name in join.numbers]
    return found | {name: pa.array(parse_numbers(found[name])[0]) for name in numbers}


def _rows_path(work: Path, join: int, block: int) -> Path:
    return work / f"join-{join}-{block:06d}.arrow"


def _index_path(work: Path, join: int) -> Path:
    return work / f"join-{join}"
