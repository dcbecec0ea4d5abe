"""The vocabularies of all columns, merged from the counts of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.data.official.block_map import Map
from experiments.data.official.job import Job
from experiments.data.official.recipe import Recipe
from experiments.data.official.report import Report
from experiments.data.prepared import vocabulary


def write_vocabularies(
    recipe: Recipe, jobs: Sequence[Job], work: Path, target: Path, report: Report, mapped: Map
) -> dict[str, int]:
    """Merge the counts of all blocks, which are then removed, to vocabularies.

    Args:
        recipe: What to do.
        jobs: The blocks.
        work: Folder of what waits.
        target: Where ``vocabulary.parquet`` goes.
        report: Takes in how many different tokens there are.
        mapped: How parts are worked on.

    Returns:
        Column → number of ids, with PAD and OOV.
    """
    parts = jobs[0].parts
    counted = [str(job.counts) for job in jobs]
    wanted = [
        vocabulary.Part(column, part, parts, counted, recipe.min_count, str(work / f"part-{column}-{part}.arrow"))
        for column in range(len(recipe.categorical))
        for part in range(parts)
    ]
    different = list(mapped("merge", vocabulary.merge, wanted))
    sizes: dict[str, int] = {}
    columns = pa.schema([("column", pa.string()), ("token", pa.string()), ("id", pa.int32()), ("count", pa.int64())])
    with pq.ParquetWriter(target / "vocabulary.parquet", columns, compression="zstd") as writer:
        for column, name in enumerate(recipe.categorical):
            mine = slice(column * parts, (column + 1) * parts)
            whole = vocabulary.join_parts([Path(part.path) for part in wanted[mine]], vocabulary_path(work, column))
            report.tokens[name] = sum(different[mine])
            sizes[name] = whole.num_rows + 2
            writer.write_table(
                pa.table(
                    [
                        pa.repeat(name, whole.num_rows),
                        whole["token"],
                        pa.array(np.arange(1, whole.num_rows + 1, dtype=np.int32)),
                        whole["count"],
                    ],
                    schema=columns,
                )
            )
    for job in jobs:
        job.counts.unlink()
    return sizes


def vocabulary_path(work: Path, column: int) -> Path:
    """Where the vocabulary of a column waits."""
    return work / f"vocabulary-{column}.arrow"
