"""``ingest``: an epoch of the feeds, against a plain pyarrow scan of the same files to tensors."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.pairing import Timing
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.stream_ingest import (
    BATCH,
    LABELS,
    SCHEMA,
    Reading,
    Stopwatch,
    row_groups,
    scan,
    stream,
    write_data,
)
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import SHARD_ROWS


def scan_to_tensors(folder: str) -> Reading:
    """Decode the training split, and stack each row group into tensors of ids, numbers and labels."""
    kinds = (list(SCHEMA.categorical), list(SCHEMA.numeric), LABELS)
    rows = 0
    watch = Stopwatch()
    for table in row_groups(folder, threads=False):
        for names in kinds:
            torch.from_numpy(np.stack([table[name].to_numpy() for name in names], 1))
        rows += table.num_rows
    return watch.reading(rows)


def first_epoch(folder: str) -> Reading:
    """Load a memory feed, held-out splits included, and read its first epoch."""
    watch = Stopwatch()
    feed = MemoryFeed(folder, LABELS, BATCH, 0)
    return watch.reading(sum(batch.rows for batch in feed.epoch(0, 0)))


def later_epoch(folder: str) -> Reading:
    """Read an epoch of a memory feed that is loaded."""
    feed = MemoryFeed(folder, LABELS, BATCH, 0)
    watch = Stopwatch()
    return watch.reading(sum(batch.rows for batch in feed.epoch(0, 1)))


READINGS: dict[str, tuple[Callable[..., Reading], tuple[bool, ...]]] = {
    "tensors": (scan_to_tensors, ()),
    "scan": (scan, (False,)),
    "first epoch": (first_epoch, ()),
    "later epoch": (later_epoch, ()),
    "stream": (stream, (False,)),
}


def run(options: Options) -> Result:
    """Run the benchmark, each reading in a process of its own."""
    folder = options.folder / "files"
    gigabytes, shard_rows = (1e-6, 500) if options.quick else (0.3, SHARD_ROWS)
    found: dict[str, list[Reading]] = {side: [] for side in READINGS}
    with _processes(options.quick) as call:
        call(write_data, folder, gigabytes, gigabytes, shard_rows)
        for _ in range(options.rounds or 5):
            for side, (reading, arguments) in READINGS.items():
                found[side].append(call(reading, str(folder), *arguments))
    timings = {side: _timing(readings) for side, readings in found.items()}
    pairs = (
        ("memory feed, load and first epoch", "first epoch"),
        ("memory feed, later epochs", "later epoch"),
        ("stream feed, an epoch", "stream"),
    )
    rows = [
        Row.of(name, rival, timings[side], timings[other], None, "s/million rows")
        for name, side in pairs
        for rival, other in (("pyarrow scan to tensors, one thread", "tensors"), ("the scan alone", "scan"))
    ]
    return Result(
        "ingest",
        "an epoch of the feeds against a pyarrow scan of the same files",
        rows,
        conditions={
            "rows": found["scan"][0].rows,
            "columns": len(SCHEMA.features) + len(LABELS),
            "gigabytes": gigabytes,
            "batch": BATCH,
        },
        notes=(
            "A feed also shuffles and gathers batches. These files fit in memory; experiments.benchmarks.stream_ingest "
            "reads more than fits, and measures memory.",
        ),
    )


@contextmanager
def _processes(quick: bool) -> Iterator[Callable[..., Any]]:
    """Yield a function that makes a call in a fresh process, or in this one if quick."""
    if quick:
        yield lambda function, *arguments: function(*arguments)
        return
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        yield lambda function, *arguments: pool.apply(function, arguments)


def _timing(readings: list[Reading]) -> Timing:
    """Return the times in seconds per million rows."""
    return Timing(
        tuple(1e6 * one.seconds / one.rows for one in readings),
        tuple(1e6 * one.processor / one.rows for one in readings),
    )
