"""Streaming an epoch of prepared data against a plain scan of the same files by pyarrow: samples a second, and memory.

::

    python -m experiments.benchmarks.stream_ingest FOLDER --gigabytes 20 --distinct 2

Writes synthetic rows of 26 categorical and 13 numeric columns and two labels as a prepared data set below FOLDER, reads
one epoch of it with one worker, and deletes it. Of the training files, ``--distinct`` GB are written; the rest are hard
links to them, which the machine's memory serves in place of its disk: with as many distinct as ``--gigabytes`` no byte
is there twice. Every measurement is a process of its own; the scan comes before the stream and again after it. Scans
decode the same columns and drop them, row group by row group, on all cores or on one. On a machine that others use too,
compare processor time.
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

from trainers.data.examples import row_bytes
from trainers.data.prepared import SHARD_ROWS, read_schema, write
from trainers.data.schema import Numeric, Schema
from trainers.data.stream import StreamFeed

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
class Measured:
    """One reading of the training split.

    Attributes:
        rows: Rows read.
        seconds: Time for the epoch; the start of the process is not in it.
        processor: Processor time of all threads, in seconds.
        peak: Most resident memory of the process, in bytes.
    """

    rows: int
    seconds: float
    processor: float
    peak: int

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def shard(rng: np.random.Generator, rows: int) -> pa.Table:
    """Random rows; small ids are frequent, as in logs."""
    content: dict[str, object] = {
        name: (size * rng.random(rows) ** 3).astype(np.int32) for name, size in SCHEMA.categorical.items()
    }
    content |= {name: rng.normal(size=rows).astype(np.float32) for name in SCHEMA.numeric}
    content["click"] = (rng.random(rows) < 0.1).astype(np.float32)
    content["buy"] = pa.array((rng.random(rows) < 0.1).astype(np.float32), mask=rng.random(rows) < 0.5)
    return pa.table(content)


def generate(folder: Path, gigabytes: float, distinct: float, shard_rows: int = SHARD_ROWS) -> None:
    """Write the prepared data set."""
    rng = np.random.default_rng(0)

    def train() -> Iterator[pa.Table]:
        written = 0
        while written < distinct * 1e9:
            yield shard(rng, shard_rows)
            written = sum(file.stat().st_size for file in folder.parent.glob(f".{folder.name}.*/train/*.parquet"))

    held_out = [shard(rng, min(HELD_OUT_ROWS, shard_rows))]
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


def scan(folder: str, threads: bool) -> Measured:
    """Decode every column of every row group, and drop it."""
    columns = [*read_schema(folder).features, *LABELS]
    rows = 0
    started, processor = time.perf_counter(), time.process_time()
    for path in sorted((Path(folder) / "train").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows += file.read_row_group(group, columns, use_threads=threads).num_rows
    return Measured(rows, time.perf_counter() - started, time.process_time() - processor, peak())


def stream(folder: str, step: bool) -> Measured:
    """One epoch of a feed, one worker; with ``step`` a logistic regression on the numeric columns learns from it."""
    feed = StreamFeed(folder, LABELS, BATCH, 0)
    model = torch.nn.Linear(len(SCHEMA.numeric), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rows = 0
    started, processor = time.perf_counter(), time.process_time()
    for batch in feed.epoch(0, 0):
        rows += batch.rows
        if step:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(batch.numeric).squeeze(1), batch.labels[:, 0]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Measured(rows, time.perf_counter() - started, time.process_time() - processor, peak())


def peak() -> int:
    """Most resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Write, read, print, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where there is room for the distinct part of the data")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of all training files")
    parser.add_argument("--distinct", type=float, default=2.0, help="size of those that are no hard links")
    parser.add_argument("--step", action="store_true", help="also a small model's optimisation step on every batch")
    arguments = parser.parse_args()
    folder = Path(arguments.folder).absolute() / f"stream-ingest-{os.getpid()}"
    context = multiprocessing.get_context("spawn")
    try:
        with context.Pool(1, maxtasksperchild=1) as pool:
            pool.apply(generate, (folder, arguments.gigabytes, arguments.distinct))
            place = str(folder)
            scans = [pool.apply(scan, (place, True))]
            epoch = pool.apply(stream, (place, arguments.step))
            scans += [pool.apply(scan, (place, True)), pool.apply(scan, (place, False))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = ["scan, threads, before", "scan, threads, after", "scan, one thread"]
    print("| | samples/s | s | processor s | peak memory, GB |\n|---|---|---|---|---|")
    for name, found in [*zip(names, scans, strict=True), ("stream", epoch)]:
        print(f"| {name} | {found.rate:,.0f} | {found.seconds:.1f} | {found.processor:.1f} | {found.peak / 1e9:.2f} |")
    reference = sum(found.rate for found in scans[:2]) / 2
    print(f"\nstream / scan with threads: {epoch.rate / reference:.2f}")
    print(f"stream / scan of one thread: {epoch.rate / scans[2].rate:.2f}")
    print(f"processor time, scan of one thread / stream: {scans[2].processor / epoch.processor:.2f}")


if __name__ == "__main__":
    main()
