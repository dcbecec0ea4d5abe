"""From official files to a prepared folder, a block of lines at a time.

1. *join*: tables of features, put down so that they can be looked up;
2. *read*: lines to columns; damaged lines are counted, and the first are told;
3. *count*: tokens, numbers and labels of the training rows; then the vocabularies are *merged*;
4. *encode*: ids and numbers, a shard of each split for each block.

Each step is one pure function mapped over blocks, by whatever is given as :class:`Map`: by default one after the
other in this process. The result does not depend on it, to the last byte.

Between the steps the rows wait on disk beside the result, as numbers into each block's own tokens. In memory are a
block for each process, the tokens that vocabularies keep, and what :class:`~experiments.data.held_out.HeldOut` asks
for. Rows keep the order of the files within a split.

Beside the shards stand ``vocabulary.parquet`` (column, token, id, count in the training rows; rows in the order of
columns and ids; PAD and OOV are no tokens) and ``preparation.json`` (:class:`Report`).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.data import lookup, vocabulary
from experiments.data.blocks import Block, blocks, check_files, header
from experiments.data.lines import FEW, Lines, numbers_of, parse
from experiments.data.recipe import SPLIT, Format, Join, Recipe
from trainers.data.prepared import Shard, seal, write_shard
from trainers.data.schema import SPLITS, Numeric, Schema

STEPS = 1
"""Version of what this module makes of a recipe; part of every cache key."""

T = TypeVar("T")
R = TypeVar("R")


class Map(Protocol):
    """Applies a pure function to items, in this process or in others that see the same files."""

    def __call__(self, step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results, in the order of the items.

        Args:
            step: Name of the step, for people.
            function: What to do with each; it can be pickled.
            items: Arguments; they can be pickled.
        """


def in_turn(step: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """A :class:`Map` without other processes."""
    return map(function, items)


@dataclass(frozen=True)
class DamagedLine:
    """A line that gives no row.

    Attributes:
        path: Its file.
        line: Its number in the file, counted from 1.
        reason: What is wrong with it.
    """

    path: str
    line: int
    reason: str


@dataclass
class Report:
    """What the files held.

    Attributes:
        name: The recipe.
        files: The files.
        lines: Number of lines, those of tables of features too, without headers.
        damaged: Number of damaged lines.
        first: The first of them.
        left_out: Rows that the recipe leaves out.
        tokens: Column → number of different tokens in the training rows, kept or not.
    """

    name: str
    files: list[str]
    lines: int = 0
    damaged: int = 0
    first: list[DamagedLine] = field(default_factory=list)
    left_out: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Read:
    """What came of a block of lines."""

    lines: int
    rows: int
    damaged: int
    damages: list[tuple[int, str]]
    left_out: int = 0


@dataclass(frozen=True)
class _Job:
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


@dataclass(frozen=True)
class _Counted:
    """Statistics of a block: rows of each split; n, mean and sum of squares of numeric features; labels of splits."""

    rows: tuple[int, ...]
    numeric: tuple[tuple[int, float, float], ...]
    labels: tuple[tuple[tuple[float, float] | None, ...], ...]


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
    from experiments.data.table import cached

    check_files(_files(recipe))
    stamp = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(recipe)]
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
    check_files(_files(recipe))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    work, target = temporary / "work", temporary / "result"
    report = Report(recipe.name, [str(path) for path in _files(recipe)])
    try:
        for place in (work, *(target / split for split in SPLITS)):
            place.mkdir(parents=True)
        joined = tuple(_join(recipe, number, work, report, mapped) for number in range(len(recipe.joins)))
        jobs = _read(recipe, work, joined, report, mapped)
        rows = _divide(recipe, jobs, work)
        parts = -(-rows // vocabulary.ROWS_PER_PART)
        jobs = [replace(job, parts=parts) for job in jobs]
        counted = list(mapped("count", _count_block, jobs))
        _check_labels(recipe, counted)
        sizes = _vocabularies(recipe, jobs, work, target, report, mapped)
        statistics = {
            name: _statistics(name, [found.numeric[place] for found in counted])
            for place, name in enumerate(recipe.numeric)
        }
        schema = Schema(sizes, statistics, labels=dict(recipe.labels), source=recipe.source)
        jobs = [replace(job, schema=schema, target=target) for job in jobs]
        shards = [shard for written in mapped("encode", _encode_block, jobs) for shard in written]
        (target / "preparation.json").write_text(json.dumps(asdict(report), indent=1))
        shards.sort(key=lambda shard: (SPLITS.index(shard.split), shard.name))
        seal(target, folder, schema, shards)
        return report
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(recipe: Recipe) -> list[Path]:
    return [*recipe.files, *(path for join in recipe.joins for path in join.files)]


def _plain(value: object) -> Any:
    return sorted(value) if isinstance(value, frozenset) else str(value)


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


def _join(recipe: Recipe, number: int, work: Path, report: Report, mapped: Map) -> int:
    """Put down a table of features; returns the number of its blocks."""
    join = recipe.joins[number]
    jobs: list[_Job] = []
    for path in join.files:
        names, found = _file_blocks(path, recipe.form, join.columns)
        jobs += [_Job(recipe, work, len(jobs) + place, block, names) for place, block in enumerate(found)]
    _note(recipe, jobs, mapped("join", partial(_join_block, number), jobs), report)
    lookup.index([_joined(work, number, job.number) for job in jobs], work / f"join-{number}")
    return len(jobs)


def _joined(work: Path, join: int, block: int) -> Path:
    return work / f"join-{join}-{block:06d}.arrow"


def _join_block(number: int, job: _Job) -> _Read:
    join = job.recipe.joins[number]
    lines = parse(job.block.read(), replace(job.recipe.form, quotes=True), job.names, join.columns)
    _drop_no_numbers(lines, (join.key, *join.numbers), optional=join.numbers)
    lookup.write_block(lines.table, join, _joined(job.work, number, job.number))
    return _Read(
        lines.total, len(lines.number), lines.damaged, [(damage.line, damage.reason) for damage in lines.damages]
    )


def _read(recipe: Recipe, work: Path, joined: tuple[int, ...], report: Report, mapped: Map) -> list[_Job]:
    """Read all rows; returns a job for each block that has some."""
    wanted = (*recipe.tokens, *recipe.numbers)
    jobs: list[_Job] = []
    for path in recipe.files:
        names, found = _file_blocks(path, recipe.form, wanted)
        jobs += [_Job(recipe, work, len(jobs) + place, block, names, joined) for place, block in enumerate(found)]
    read = _note(recipe, jobs, mapped("read", _read_block, jobs), report)
    firsts = list(accumulate((one.rows for one in read), initial=0))
    full = [replace(job, first=first) for job, first, one in zip(jobs, firsts, read, strict=False) if one.rows]
    if not full:
        raise ValueError(f"{', '.join(map(str, recipe.files))}: no row is left of {report.lines} lines")
    np.lib.format.open_memmap(work / "split.npy", mode="w+", dtype=np.uint8, shape=(firsts[-1],))
    return full


def _note(recipe: Recipe, jobs: Sequence[_Job], results: Iterator[_Read], report: Report) -> list[_Read]:
    """Take in what came of blocks, and refuse too much damage as soon as nothing that follows can redeem it."""
    read: list[_Read] = []
    path, line = "", 0
    before, lost = report.lines, report.damaged
    # A whole line has a byte for each field at least: its end or a delimiter.
    most = sum(-(-(job.block.stop - job.block.start) // len(job.names)) for job in jobs)
    for job, one in zip(jobs, results, strict=True):
        if job.block.path != path:
            path, line = job.block.path, int(recipe.form.columns is None)
        report.first += [DamagedLine(path, line + at, reason) for at, reason in one.damages]
        del report.first[FEW:]
        report.damaged += one.damaged
        report.lines += one.lines
        report.left_out += one.left_out
        line += one.lines
        read.append(one)
        lost += one.damaged
        if lost > recipe.max_damaged * (before + lost + most):
            break
    if report.damaged > recipe.max_damaged * report.lines:
        told = "".join(f"\n  {found.path}, line {found.line}: {found.reason}" for found in report.first)
        raise ValueError(
            f"{report.damaged:,} of {report.lines:,} lines are damaged, allowed are {recipe.max_damaged:.3%}. "
            f"The first:{told}\nGet the file again, or raise the option max_damaged"
        )
    return read


def _read_block(job: _Job) -> _Read:
    """Lines to columns, which wait on disk."""
    recipe = job.recipe
    lines = parse(job.block.read(), recipe.form, job.names, (*recipe.tokens, *recipe.numbers))
    numbers = _drop_no_numbers(lines, recipe.numbers, optional=recipe.numeric)
    columns: dict[str, Any] = {name: lines.table[name].combine_chunks() for name in recipe.tokens}
    columns |= {name: pa.array(found) for name, found in numbers.items()}
    for number, join in enumerate(recipe.joins):
        paths = [_joined(job.work, number, block) for block in range(job.joined[number])]
        found = lookup.look_up(columns[join.key], join, job.work / f"join-{number}", paths)
        for name in join.numbers:
            name = join.renamed.get(name, name)
            columns[name] = pa.array(numbers_of(found.pop(name))[0])
        columns |= found
    lines.table = pa.table(columns)
    if recipe.derive is not None:
        lines.table = recipe.derive(lines.table, job.block.path)
    _drop_wrong_labels(lines, recipe.labels)
    table = lines.table.select([*recipe.categorical, *recipe.numeric, *recipe.labels, *([SPLIT] * recipe.splits)])
    left_out = 0
    if recipe.splits:
        mine = table[SPLIT].to_numpy() >= 0
        left_out = int(len(mine) - mine.sum())
        table = table.filter(pa.array(mine))
    if table.num_rows:
        _put(table, job.rows)
    return _Read(
        lines.total,
        table.num_rows,
        lines.damaged,
        [(damage.line, damage.reason) for damage in lines.damages],
        left_out,
    )


def _drop_no_numbers(lines: Lines, names: Sequence[str], optional: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """The numbers of the rows in which each column that must have one has one; the other rows are damaged."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    why: dict[int, str] = {}
    for name in names:
        found[name], bad = numbers_of(lines.table[name])
        if name not in optional:
            bad |= np.isnan(found[name])
        for row in np.flatnonzero(bad & ~wrong)[:FEW].tolist():
            token = lines.table[name][row].as_py()
            why[row] = f"{name} is {'empty' if token is None else repr(token)}, a number is needed"
        wrong |= bad
    if wrong.any():
        lines.drop(wrong, [why.get(row, "") for row in np.flatnonzero(wrong)[:FEW].tolist()])
        return {name: values[~wrong] for name, values in found.items()}
    return found


def _drop_wrong_labels(lines: Lines, labels: Mapping[str, int]) -> None:
    """Rows with a label that is none of its classes are damaged."""
    wrong = np.zeros(lines.table.num_rows, np.bool_)
    why: dict[int, str] = {}
    for name, classes in labels.items():
        values = lines.table[name].to_numpy()
        bad = ~((values >= 0) & (values < classes) & (values == np.floor(values)))
        for row in np.flatnonzero(bad & ~wrong)[:FEW].tolist():
            why[row] = f"label {name} is {values[row]:g}, allowed are 0 to {classes - 1}"
        wrong |= bad
    if wrong.any():
        lines.drop(wrong, [why.get(row, "") for row in np.flatnonzero(wrong)[:FEW].tolist()])


def _divide(recipe: Recipe, jobs: Sequence[_Job], work: Path) -> int:
    """Write the split of every row, one byte each; returns the number of rows."""
    split = np.load(work / "split.npy", mmap_mode="r+")
    if recipe.splits:
        for job in jobs:
            found = _get(job.rows)[SPLIT].to_numpy()
            split[job.first : job.first + len(found)] = found
    if recipe.held_out is not None and not recipe.splits:
        split[:] = recipe.held_out.split(len(split))
    elif recipe.held_out is not None:
        places = np.flatnonzero(split == 0)
        split[places] = recipe.held_out.split(len(places))
    split.flush()
    return len(split)


def _count_block(job: _Job) -> _Counted:
    """Count tokens, numbers and labels."""
    recipe = job.recipe
    table = _get(job.rows)
    split = _split(job, table.num_rows)
    train = split == 0
    vocabulary.count([table[name].combine_chunks() for name in recipe.categorical], train, job.parts, job.counts)
    numeric = []
    for name in recipe.numeric:
        values = _numbers(table, name, recipe)[train]
        values = values[~np.isnan(values)]
        mean = float(values.mean()) if len(values) else 0.0
        numeric.append((len(values), mean, float(np.square(values - mean).sum())))
    labels = []
    for name in recipe.labels:
        values = table[name].to_numpy()
        parts = [values[split == place] for place in range(len(SPLITS))]
        labels.append(tuple((float(part.min()), float(part.max())) if len(part) else None for part in parts))
    rows = tuple(np.bincount(split, minlength=len(SPLITS)).tolist())
    return _Counted(rows, tuple(numeric), tuple(labels))


def _check_labels(recipe: Recipe, counted: Sequence[_Counted]) -> None:
    rows = dict(zip(SPLITS, np.sum([found.rows for found in counted], axis=0).tolist(), strict=True))
    if empty := [split for split in SPLITS if not rows[split]]:
        raise ValueError(f"split {empty[0]!r} is empty: found {rows} rows, and every split needs some")
    for place, name in enumerate(recipe.labels):
        ranges = [found.labels[place][0] for found in counted]
        low = min(found[0] for found in ranges if found is not None)
        if low == max(found[1] for found in ranges if found is not None):
            raise ValueError(
                f"label {name!r} is {low:g} in every training row; a task needs two classes in training. "
                "Check that this is the whole official file"
            )


def _vocabularies(
    recipe: Recipe, jobs: Sequence[_Job], work: Path, target: Path, report: Report, mapped: Map
) -> dict[str, int]:
    """Merge counts to vocabularies; returns their sizes."""
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
            whole = vocabulary.join_parts([Path(part.path) for part in wanted[mine]], _words(work, column))
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


def _words(work: Path, column: int) -> Path:
    return work / f"vocabulary-{column}.arrow"


def _statistics(name: str, found: Sequence[tuple[int, float, float]]) -> Numeric:
    """Mean and standard deviation from those of blocks, after Chan, Golub and LeVeque (1979)."""
    n, mean, squares = 0, 0.0, 0.0
    for m, other, more in found:
        if m:
            step = other - mean
            squares += more + step * step * n * m / (n + m)
            mean += step * m / (n + m)
            n += m
    if not n:
        raise ValueError(f"numeric column {name!r} has no value in the training rows; check the official file")
    std = float(np.sqrt(squares / n))
    return Numeric(mean, 1.0 if std <= 1e-7 * max(1.0, abs(mean)) else std)


def _encode_block(job: _Job) -> list[Shard]:
    """Write a shard of each split."""
    recipe = job.recipe
    table = _get(job.rows)
    split = _split(job, table.num_rows)
    columns: dict[str, Any] = {}
    for place, name in enumerate(recipe.categorical):
        columns[name] = vocabulary.ids(table[name].combine_chunks(), _words(job.work, place))
    for name in recipe.numeric:
        values = _numbers(table, name, recipe)
        columns[name] = np.where(np.isnan(values), job.schema.numeric[name].mean, values).astype(np.float32)
    for name in recipe.labels:
        columns[name] = table[name].to_numpy().astype(np.float32)
    encoded = pa.table(columns)
    shards = [
        write_shard(job.target, name, job.number, part, job.schema)
        for place, name in enumerate(SPLITS)
        if (part := encoded.filter(pa.array(split == place))).num_rows
    ]
    os.unlink(job.rows)
    return shards


def _numbers(table: pa.Table, name: str, recipe: Recipe) -> npt.NDArray[np.float64]:
    values = np.asarray(table[name].to_numpy(), dtype=np.float64)
    if name not in recipe.log1p:
        return values
    if (values < 0).any():
        raise ValueError(f"numeric column {name!r} holds {np.nanmin(values)}; log1p takes values from 0 up")
    return np.asarray(np.log1p(values))


def _split(job: _Job, rows: int) -> npt.NDArray[np.uint8]:
    return np.array(np.load(job.work / "split.npy", mmap_mode="r")[job.first : job.first + rows])


def _put(table: pa.Table, path: Path) -> None:
    batch = table.combine_chunks().to_batches()[0]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def _get(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


__all__ = ["Join", "Map", "Report", "build", "in_turn", "prepare"]
