"""``ingest``: the feeds of an epoch against a plain pyarrow scan of the same files to tensors."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.pairing import Timing
from experiments.benchmarks.harness.result import Result, Row
from experiments.benchmarks.stream_ingest import BATCH, LABELS, SCHEMA, Measured, generate, peak, scan, stream
from trainers.data.memory import MemoryFeed
from trainers.data.prepared import SHARD_ROWS, read_schema


def tensors(folder: str) -> Measured:
    """Decode every column of every row group, and stack them into tensors: ids, numbers, labels."""
    kinds = (list(SCHEMA.categorical), list(SCHEMA.numeric), LABELS)
    columns = [*read_schema(folder).features, *LABELS]
    rows = 0
    started, processor = time.perf_counter(), time.process_time()
    for path in sorted((Path(folder) / "train").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns, use_threads=False)
                for names in kinds:
                    torch.from_numpy(np.stack([table[name].to_numpy() for name in names], 1))
                rows += table.num_rows
    return Measured(rows, time.perf_counter() - started, time.process_time() - processor, peak())


def memory(folder: str) -> Measured:
    """Load all rows once, and go through an epoch of batches; the held-out splits are loaded too."""
    started, processor = time.perf_counter(), time.process_time()
    feed = MemoryFeed(folder, LABELS, BATCH, 0)
    rows = sum(batch.rows for batch in feed.epoch(0, 0))
    return Measured(rows, time.perf_counter() - started, time.process_time() - processor, peak())


def later_epoch(folder: str) -> Measured:
    """An epoch of a memory feed that is loaded."""
    feed = MemoryFeed(folder, LABELS, BATCH, 0)
    started, processor = time.perf_counter(), time.process_time()
    rows = sum(batch.rows for batch in feed.epoch(0, 1))
    return Measured(rows, time.perf_counter() - started, time.process_time() - processor, peak())


READINGS: dict[str, tuple[Callable[..., Measured], tuple[bool, ...]]] = {
    "tensors": (tensors, ()),
    "scan": (scan, (False,)),
    "memory": (memory, ()),
    "later epoch": (later_epoch, ()),
    "stream": (stream, (False,)),
}


def run(options: Options) -> Result:
    """Measure, every reading in a process of its own."""
    folder = options.folder / "files"
    gigabytes, shard_rows = (1e-6, 500) if options.quick else (0.3, SHARD_ROWS)
    found: dict[str, list[Measured]] = {side: [] for side in READINGS}
    with _processes(options.quick) as call:
        call(generate, folder, gigabytes, gigabytes, shard_rows)
        for _ in range(options.rounds or 5):
            for side, (reading, arguments) in READINGS.items():
                found[side].append(call(reading, str(folder), *arguments))
    timings = {side: _timing(readings) for side, readings in found.items()}
    pairs = (
        ("memory feed, load and first epoch", "memory"),
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
            "A feed also shuffles, and gathers batches. The files fit into memory here: "
            "experiments.benchmarks.stream_ingest reads more than that, and counts memory.",
        ),
    )


@contextmanager
def _processes(quick: bool) -> Iterator[Callable[..., Any]]:
    """Calls functions, each in a fresh process; in this one to see quickly whether they work."""
    if quick:
        yield lambda function, *arguments: function(*arguments)
        return
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        yield lambda function, *arguments: pool.apply(function, arguments)


def _timing(readings: list[Measured]) -> Timing:
    """Seconds per million rows."""
    return Timing(
        tuple(1e6 * one.seconds / one.rows for one in readings),
        tuple(1e6 * one.processor / one.rows for one in readings),
    )
