"""An epoch of the stream feed, against a plain pyarrow scan of the same files: samples per second, and memory.

::

    python -m experiments.benchmarks.stream_ingest FOLDER --gigabytes 20 --distinct 2

Writes a prepared data set of synthetic rows (26 categorical and 13 numeric columns, two labels) below FOLDER, reads one
epoch with one worker, and deletes it. ``--distinct`` GB of the training files are written and the rest are hard links
to them, which come from the page cache; give the same number as ``--gigabytes`` to read every byte from disk. Each
measurement has its own process, and the scan is measured before and after the stream. Scans decode the same columns and
drop them, one row group at a time, on all cores or on one. On a shared machine, compare processor time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.trainers.data.examples import row_bytes
from nmt.trainers.data.prepared import SHARD_ROWS, read_schema, write
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.data.stream import StreamFeed

SCHEMA = Schema(
    categorical={f"c{column}": 10 ** (1 + column % 6) for column in range(26)},
    numeric={f"x{column}": Numeric() for column in range(13)},
    labels={"click": 2, "buy": 2},
    source="synthetic",
)
LABELS = list(SCHEMA.labels)
BATCH = 4096
HELD_OUT_ROWS = 50_000


@dataclass(frozen=True)
class Reading:
    """The cost of reading the training split once.

    Attributes:
        rows: Rows read.
        seconds: Time of the epoch, without the start of the process.
        processor: Processor time of all threads, in seconds.
        peak: Peak resident memory of the process, in bytes.
    """

    rows: int
    seconds: float
    processor: float
    peak: int

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


class Stopwatch:
    """Starts when it is created, and measures a reading."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def reading(self, rows: int) -> Reading:
        """Return the cost since the start; peak memory is that of the whole process."""
        seconds, processor = time.perf_counter() - self._wall, time.process_time() - self._processor
        unit = 1 if sys.platform == "darwin" else 1024
        return Reading(rows, seconds, processor, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def random_rows(rng: np.random.Generator, rows: int) -> pa.Table:
    """Draw random rows; small ids are frequent, as in logs."""
    content: dict[str, object] = {
        name: (size * rng.random(rows) ** 3).astype(np.int32) for name, size in SCHEMA.categorical.items()
    }
    content |= {name: rng.normal(size=rows).astype(np.float32) for name in SCHEMA.numeric}
    content["click"] = (rng.random(rows) < 0.1).astype(np.float32)
    content["buy"] = pa.array((rng.random(rows) < 0.1).astype(np.float32), mask=rng.random(rows) < 0.5)
    return pa.table(content)


def write_data(folder: Path, gigabytes: float, distinct: float, shard_rows: int = SHARD_ROWS) -> None:
    """Write the prepared data set, and print its size to standard error."""
    rng = np.random.default_rng(0)

    def train() -> Iterator[pa.Table]:
        written = 0
        while written < distinct * 1e9:
            yield random_rows(rng, shard_rows)
            written = sum(file.stat().st_size for file in folder.parent.glob(f".{folder.name}.*/train/*.parquet"))

    held_out = [random_rows(rng, min(HELD_OUT_ROWS, shard_rows))]
    schema = write(folder, SCHEMA, {"train": train(), "valid": held_out, "test": held_out})
    files = sorted((folder / "train").iterdir())
    size = sum(file.stat().st_size for file in files)
    number = len(files)
    while size < gigabytes * 1e9:
        original = files[number % len(files)]
        os.link(original, folder / "train" / f"part-{number:05d}.parquet")
        size += original.stat().st_size
        number += 1
    rows = {**schema.rows, "train": number * shard_rows}
    (folder / "schema.json").write_text(replace(schema, rows=rows, examples=rows).to_json())
    print(
        f"{rows['train']:,} training rows in {number} files of {size / 1e9:.1f} GB, {len(files)} of them distinct; "
        f"{rows['train'] * row_bytes(schema, len(LABELS)) / 1e9:.1f} GB as tensors",
        file=sys.stderr,
        flush=True,
    )


def row_groups(folder: str, threads: bool) -> Iterator[pa.Table]:
    """Decode all columns of each row group of the training split."""
    columns = [*read_schema(folder).features, *LABELS]
    for path in sorted((Path(folder) / "train").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns, use_threads=threads)


def scan(folder: str, threads: bool) -> Reading:
    """Decode the training split, and drop each row group."""
    watch = Stopwatch()
    return watch.reading(sum(table.num_rows for table in row_groups(folder, threads)))


def stream(folder: str, step: bool) -> Reading:
    """Read one epoch of the stream feed; with ``step``, train a logistic regression on its numeric columns."""
    feed = StreamFeed(folder, LABELS, BATCH, 0)
    model = torch.nn.Linear(len(SCHEMA.numeric), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rows = 0
    watch = Stopwatch()
    for batch in feed.epoch(0, 0):
        rows += batch.rows
        if step:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(batch.numeric).squeeze(1), batch.labels[:, 0]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return watch.reading(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with room for the distinct part of the data")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of all training files")
    parser.add_argument("--distinct", type=float, default=2.0, help="size of the files that are not hard links")
    parser.add_argument(
        "--step", action="store_true", help="also take an optimisation step of a small model on every batch"
    )
    arguments = parser.parse_args()
    folder = Path(arguments.folder).absolute() / f"stream-ingest-{os.getpid()}"
    context = multiprocessing.get_context("spawn")
    try:
        with context.Pool(1, maxtasksperchild=1) as pool:
            pool.apply(write_data, (folder, arguments.gigabytes, arguments.distinct))
            data = str(folder)
            scans = [pool.apply(scan, (data, True))]
            epoch = pool.apply(stream, (data, arguments.step))
            scans += [pool.apply(scan, (data, True)), pool.apply(scan, (data, False))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = ["scan, threads, before", "scan, threads, after", "scan, one thread"]
    rows = [
        (name, f"{one.rate:,.0f}", f"{one.seconds:.1f}", f"{one.processor:.1f}", f"{one.peak / 1e9:.2f}")
        for name, one in [*zip(names, scans, strict=True), ("stream", epoch)]
    ]
    print(markdown_table(("", "samples/s", "s", "processor s", "peak memory, GB"), rows))
    reference = sum(one.rate for one in scans[:2]) / 2
    print(f"\nstream / scan with threads: {epoch.rate / reference:.2f}")
    print(f"stream / scan of one thread: {epoch.rate / scans[2].rate:.2f}")
    print(f"processor time, scan of one thread / stream: {scans[2].processor / epoch.processor:.2f}")


if __name__ == "__main__":
    main()
