"""The vocabularies of all categorical columns, merged from the counts of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nmt.experiments.data.official import vocabulary
from nmt.experiments.data.official.block_job import BlockJob
from nmt.experiments.data.official.block_map import Map
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.report import Report
from nmt.trainers.encoding.encoder import VOCABULARY, VOCABULARY_SCHEMA


def write_vocabularies(
    recipe: Recipe, jobs: Sequence[BlockJob], work: Path, target: Path, report: Report, mapped: Map
) -> dict[str, int]:
    """Merge the counts of all blocks to vocabularies, and remove the counts.

    Args:
        recipe: The recipe.
        jobs: The blocks.
        work: Folder of temporary files.
        target: Folder of ``vocabulary.parquet``.
        report: The report that numbers of distinct tokens are added to.
        mapped: Maps a function over parts.

    Returns:
        Column → number of ids, PAD and OOV included.
    """
    parts = jobs[0].parts
    counted = [str(job.counts_path) for job in jobs]
    wanted = [
        vocabulary.Part(column, part, parts, counted, recipe.min_count, str(work / f"part-{column}-{part}.arrow"))
        for column in range(len(recipe.categorical))
        for part in range(parts)
    ]
    distinct = list(mapped("merge", vocabulary.merge_part, wanted))
    sizes: dict[str, int] = {}
    with pq.ParquetWriter(target / VOCABULARY, VOCABULARY_SCHEMA, compression="zstd") as writer:
        for column, name in enumerate(recipe.categorical):
            slots = slice(column * parts, (column + 1) * parts)
            whole = vocabulary.join_parts([Path(part.path) for part in wanted[slots]], vocabulary_path(work, column))
            report.tokens[name] = sum(distinct[slots])
            sizes[name] = whole.num_rows + 2
            writer.write_table(
                pa.table(
                    [
                        pa.repeat(name, whole.num_rows),
                        whole["token"],
                        pa.array(np.arange(1, whole.num_rows + 1, dtype=np.int32)),
                        whole["count"],
                    ],
                    schema=VOCABULARY_SCHEMA,
                )
            )
    for job in jobs:
        job.counts_path.unlink()
    return sizes


def vocabulary_path(work: Path, column: int) -> Path:
    """File of the vocabulary of a column."""
    return work / f"vocabulary-{column}.arrow"
