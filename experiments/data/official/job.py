"""One block of lines in any of the steps, and where its rows wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experiments.data.official.blocks import Block, blocks, header
from experiments.data.official.recipe import Format, Recipe
from trainers.data.schema import Schema


@dataclass(frozen=True)
class Job:
    """One block in any of the steps.

    Attributes:
        recipe: What to do.
        work: Folder of what waits.
        number: Place of the block, of the join's blocks or of the rows'.
        block: Its lines.
        names: Fields of its file.
        joined: Number of blocks of each join.
        first: Number of its first row, over all blocks.
        parts: Parts of each column's tokens.
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
    def rows(self) -> Path:
        """Where the rows of the block wait."""
        return self.work / f"rows-{self.number:06d}.arrow"

    @property
    def counts(self) -> Path:
        """Where the counts of the block wait."""
        return self.work / f"counts-{self.number:06d}.arrow"

    def put(self, table: pa.Table) -> None:
        """Write the rows of the block down."""
        batch = table.combine_chunks().to_batches()[0]
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(self.rows), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
            writer.write_batch(batch)

    def get(self) -> pa.Table:
        """The rows of the block."""
        with pa.OSFile(str(self.rows)) as file, pa.ipc.open_file(file) as reader:
            return reader.read_all()

    def split(self, rows: int) -> npt.NDArray[np.uint8]:
        """The index in :data:`~trainers.data.schema.SPLITS` of each of its rows."""
        return np.array(np.load(self.work / "split.npy", mmap_mode="r")[self.first : self.first + rows])


def jobs_of(
    recipe: Recipe, work: Path, files: Sequence[Path], wanted: Sequence[str], joined: tuple[int, ...] = ()
) -> list[Job]:
    """A job for each block of some files.

    Args:
        recipe: What to do.
        work: Folder of what waits.
        files: The files.
        wanted: Columns that each of them must have.
        joined: Number of blocks of each join.

    Raises:
        ValueError: A file's first line does not name a wanted column.
    """
    jobs: list[Job] = []
    for path in files:
        names, found = _file_blocks(path, recipe.form, wanted)
        jobs += [Job(recipe, work, len(jobs) + place, block, names, joined) for place, block in enumerate(found)]
    return jobs


def _file_blocks(path: Path, form: Format, wanted: Sequence[str]) -> tuple[tuple[str, ...], list[Block]]:
    """Fields and blocks of a file.

    Raises:
        ValueError: The file's first line does not name a wanted column.
    """
    if form.columns is not None:
        return form.columns, blocks(path)
    line, skipped = header(path)
    names = tuple(name.strip().strip('"') for name in line.decode(errors="replace").split(form.delimiter))
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(
            f"{path}: the first line names no column {missing}, but {list(names)[:40]}; give the official file, "
            "with its header"
        )
    return names, blocks(path, skipped)
