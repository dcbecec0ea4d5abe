"""The work on one block of lines, the same record in all steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.experiments.data.common.arrow_file import read_arrow, write_arrow
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.text.blocks import Block, read_header, split_into_blocks
from nmt.experiments.data.official.text.format import Format
from nmt.trainers.data.schema import Schema


@dataclass(frozen=True)
class BlockJob:
    """The work on one block; each step fills in what the next one needs.

    Attributes:
        recipe: The recipe.
        work: Folder of temporary files.
        number: Number of the block among those of its join, or of the rows.
        block: The lines of the block.
        names: Field names of its file.
        joined: Number of blocks of each join.
        first: Number of its first row, over all blocks.
        parts: Number of parts that each column's tokens are merged in.
        target: Folder of the shards.
        schema: Columns of the result.
    """

    recipe: Recipe
    work: Path
    number: int
    block: Block
    names: tuple[str, ...] = ()
    joined: tuple[int, ...] = ()
    first: int = 0
    parts: int = 1
    target: Path = Path()
    schema: Schema = field(default_factory=Schema)

    @property
    def rows_path(self) -> Path:
        """File of the block's rows."""
        return self.work / f"rows-{self.number:06d}.arrow"

    @property
    def counts_path(self) -> Path:
        """File of the block's token counts."""
        return self.work / f"counts-{self.number:06d}.arrow"

    def write_rows(self, table: pa.Table) -> None:
        """Write the rows of the block, of which there is at least one."""
        write_arrow(self.rows_path, table.combine_chunks().to_batches()[0], compression="lz4")

    def read_rows(self) -> pa.Table:
        """Read the rows of the block."""
        return read_arrow(self.rows_path)

    def split(self, rows: int) -> npt.NDArray[np.uint8]:
        """Read the index in :data:`~nmt.trainers.data.schema.SPLITS` of each of its rows."""
        return np.array(np.load(self.work / "split.npy", mmap_mode="r")[self.first : self.first + rows])


def create_jobs(
    recipe: Recipe, work: Path, files: Sequence[Path], wanted: Sequence[str], joined: tuple[int, ...] = ()
) -> list[BlockJob]:
    """Create a job for each block of some files.

    Args:
        recipe: The recipe.
        work: Folder of temporary files.
        files: The files.
        wanted: Columns that each file must have.
        joined: Number of blocks of each join.

    Raises:
        ValueError: The first line of a file lacks a wanted column.
    """
    jobs: list[BlockJob] = []
    for path in files:
        names, blocks = _file_blocks(path, recipe.form, wanted)
        jobs += [BlockJob(recipe, work, number, block, names, joined) for number, block in enumerate(blocks, len(jobs))]
    return jobs


def _file_blocks(path: Path, form: Format, wanted: Sequence[str]) -> tuple[tuple[str, ...], list[Block]]:
    """Return the field names and the blocks of a file.

    Raises:
        ValueError: The first line of the file lacks a wanted column.
    """
    if form.columns is not None:
        return form.columns, split_into_blocks(path)
    names, skipped = read_header(path, form.delimiter)
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(
            f"{path}: the first line names no column {missing}, but {list(names)[:40]}; give the official file, "
            "with its header"
        )
    return names, split_into_blocks(path, skipped)
