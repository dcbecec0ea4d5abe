"""Lines read to rows, which wait on disk, and the split of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nmt.experiments.data.official.block_job import BlockJob, create_jobs
from nmt.experiments.data.official.block_map import Map
from nmt.experiments.data.official.held_out import TRAIN
from nmt.experiments.data.official.joins import joined_features
from nmt.experiments.data.official.recipe import SPLIT, Recipe
from nmt.experiments.data.official.report import BlockReport, Report, add_blocks
from nmt.experiments.data.official.row_checks import drop_rows_with_wrong_labels, drop_rows_without_numbers
from nmt.experiments.data.official.text.lines import parse


def read_rows(recipe: Recipe, work: Path, joined: tuple[int, ...], report: Report, mapped: Map) -> list[BlockJob]:
    """Read all rows to temporary files.

    Args:
        recipe: The recipe.
        work: Folder of temporary files.
        joined: Number of blocks of each join.
        report: The report that the files are added to.
        mapped: Maps a function over blocks.

    Returns:
        The jobs of the blocks that have rows.

    Raises:
        ValueError: A file, or too many of its lines, cannot be used, or no row is left.
    """
    wanted = (*recipe.tokens, *recipe.numbers)
    jobs = create_jobs(recipe, work, recipe.files, wanted, joined)
    read = add_blocks(recipe, jobs, mapped("read", _read_block, jobs), report)
    firsts = list(accumulate((one.rows for one in read), initial=0))
    full = [replace(job, first=first) for job, first, one in zip(jobs, firsts, read, strict=False) if one.rows]
    if not full:
        raise ValueError(f"{', '.join(map(str, recipe.files))}: no row is left of {report.lines} lines")
    np.lib.format.open_memmap(work / "split.npy", mode="w+", dtype=np.uint8, shape=(firsts[-1],))
    return full


def _read_block(job: BlockJob) -> BlockReport:
    """Read the lines of a block to a temporary file of rows."""
    recipe = job.recipe
    lines = parse(job.block.read(), recipe.form, job.names, (*recipe.tokens, *recipe.numbers))
    numbers = drop_rows_without_numbers(lines, recipe.numbers, optional=recipe.numeric)
    columns: dict[str, Any] = {name: lines.table[name].combine_chunks() for name in recipe.tokens}
    columns |= {name: pa.array(found) for name, found in numbers.items()}
    for number, join in enumerate(recipe.joins):
        columns |= joined_features(job, number, columns[join.key])
    lines.table = pa.table(columns)
    if recipe.derive is not None:
        lines.table = recipe.derive(lines.table, job.block.path)
    drop_rows_with_wrong_labels(lines, recipe.labels)
    table = lines.table.select([*recipe.categorical, *recipe.numeric, *recipe.labels, *([SPLIT] * recipe.splits)])
    left_out = 0
    if recipe.splits:
        used = table[SPLIT].to_numpy() >= 0
        left_out = int(len(used) - used.sum())
        table = table.filter(pa.array(used))
    if table.num_rows:
        job.write_rows(table)
    return BlockReport.of(lines, table.num_rows, left_out)


def split_rows(recipe: Recipe, jobs: Sequence[BlockJob], work: Path) -> int:
    """Write the split of each row, one byte each, and return the number of rows."""
    split = np.load(work / "split.npy", mmap_mode="r+")
    if recipe.splits:
        for job in jobs:
            found = job.read_rows()[SPLIT].to_numpy()
            split[job.first : job.first + len(found)] = found
    if recipe.held_out is not None and not recipe.splits:
        split[:] = recipe.held_out.split(len(split))
    elif recipe.held_out is not None:
        train = np.flatnonzero(split == TRAIN)
        split[train] = recipe.held_out.split(len(train))
    split.flush()
    return len(split)
