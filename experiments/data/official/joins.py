"""Tables of features, put down so that they can be looked up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from experiments.data.official import lookup
from experiments.data.official.block_map import Map
from experiments.data.official.damage import drop_no_numbers
from experiments.data.official.job import Job, jobs_of
from experiments.data.official.lines import numbers_of, parse
from experiments.data.official.recipe import Recipe
from experiments.data.official.report import BlockRead, Report, take_in


def put_down_join(recipe: Recipe, number: int, work: Path, report: Report, mapped: Map) -> int:
    """Put down a table of features.

    Args:
        recipe: What to do.
        number: Place of the table in the recipe.
        work: Folder of what waits.
        report: Takes in what its files hold.
        mapped: How blocks are worked on.

    Returns:
        The number of its blocks.

    Raises:
        ValueError: A file, or too many of its lines, cannot be used.
    """
    join = recipe.joins[number]
    jobs = jobs_of(recipe, work, join.files, join.columns)
    take_in(recipe, jobs, mapped("join", partial(_join_block, number), jobs), report)
    lookup.index([_rows_path(work, number, block) for block in range(len(jobs))], _index_path(work, number))
    return len(jobs)


def _join_block(number: int, job: Job) -> BlockRead:
    join = job.recipe.joins[number]
    lines = parse(job.block.read(), replace(job.recipe.form, quotes=True), job.names, join.columns)
    drop_no_numbers(lines, (join.key, *join.numbers), optional=join.numbers)
    lookup.write_block(lines.table, join, _rows_path(job.work, number, job.number))
    return BlockRead.of(lines, rows=len(lines.number))


def joined_features(job: Job, number: int, ids: pa.Array) -> dict[str, Any]:
    """Features of a column of ids, under their names in the recipe, numbers as such.

    Args:
        job: The block whose rows have the ids.
        number: Place of the table in the recipe.
        ids: The ids, as a dictionary of text.
    """
    join = job.recipe.joins[number]
    paths = [_rows_path(job.work, number, block) for block in range(job.joined[number])]
    found = lookup.look_up(ids, join, _index_path(job.work, number), paths)
    numbers = [join.renamed.get(name, name) for name in join.numbers]
    return found | {name: pa.array(numbers_of(found[name])[0]) for name in numbers}


def _rows_path(work: Path, join: int, block: int) -> Path:
    return work / f"join-{join}-{block:06d}.arrow"


def _index_path(work: Path, join: int) -> Path:
    return work / f"join-{join}"
