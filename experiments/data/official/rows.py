"""Lines to rows, which wait on disk, and the splits of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.data.official.block_map import Map
from experiments.data.official.damage import drop_no_numbers, drop_wrong_labels
from experiments.data.official.job import Job, jobs_of
from experiments.data.official.joins import joined_features
from experiments.data.official.lines import parse
from experiments.data.official.recipe import SPLIT, Recipe
from experiments.data.official.report import BlockRead, Report, take_in


def read_rows(recipe: Recipe, work: Path, joined: tuple[int, ...], report: Report, mapped: Map) -> list[Job]:
    """Read all rows, which then wait on disk.

    Args:
        recipe: What to do.
        work: Folder of what waits.
        joined: Number of blocks of each join.
        report: Takes in what the files hold.
        mapped: How blocks are worked on.

    Returns:
        A job for each block that has rows.

    Raises:
        ValueError: A file, or too many of its lines, cannot be used, or no row is left.
    """
    wanted = (*recipe.tokens, *recipe.numbers)
    jobs = jobs_of(recipe, work, recipe.files, wanted, joined)
    read = take_in(recipe, jobs, mapped("read", _read_block, jobs), report)
    firsts = list(accumulate((one.rows for one in read), initial=0))
    full = [replace(job, first=first) for job, first, one in zip(jobs, firsts, read, strict=False) if one.rows]
    if not full:
        raise ValueError(f"{', '.join(map(str, recipe.files))}: no row is left of {report.lines} lines")
    np.lib.format.open_memmap(work / "split.npy", mode="w+", dtype=np.uint8, shape=(firsts[-1],))
    return full


def _read_block(job: Job) -> BlockRead:
    """Lines to columns, which wait on disk."""
    recipe = job.recipe
    lines = parse(job.block.read(), recipe.form, job.names, (*recipe.tokens, *recipe.numbers))
    numbers = drop_no_numbers(lines, recipe.numbers, optional=recipe.numeric)
    columns: dict[str, Any] = {name: lines.table[name].combine_chunks() for name in recipe.tokens}
    columns |= {name: pa.array(found) for name, found in numbers.items()}
    for number, join in enumerate(recipe.joins):
        columns |= joined_features(job, number, columns[join.key])
    lines.table = pa.table(columns)
    if recipe.derive is not None:
        lines.table = recipe.derive(lines.table, job.block.path)
    drop_wrong_labels(lines, recipe.labels)
    table = lines.table.select([*recipe.categorical, *recipe.numeric, *recipe.labels, *([SPLIT] * recipe.splits)])
    left_out = 0
    if recipe.splits:
        mine = table[SPLIT].to_numpy() >= 0
        left_out = int(len(mine) - mine.sum())
        table = table.filter(pa.array(mine))
    if table.num_rows:
        job.put(table)
    return BlockRead.of(lines, table.num_rows, left_out)


def divide(recipe: Recipe, jobs: Sequence[Job], work: Path) -> int:
    """Write the split of every row, one byte each; returns the number of rows."""
    split = np.load(work / "split.npy", mmap_mode="r+")
    if recipe.splits:
        for job in jobs:
            found = job.get()[SPLIT].to_numpy()
            split[job.first : job.first + len(found)] = found
    if recipe.held_out is not None and not recipe.splits:
        split[:] = recipe.held_out.split(len(split))
    elif recipe.held_out is not None:
        places = np.flatnonzero(split == 0)
        split[places] = recipe.held_out.split(len(places))
    split.flush()
    return len(split)
