"""Whether workers keep the data in memory or stream them."""

from __future__ import annotations

import os
from pathlib import Path

from trainers.data.examples import row_bytes
from trainers.data.schema import Schema
from trainers.spec.chain_spec import Ingest

SHARE = 0.25
"""Largest share of this machine's memory that data may fill and still be kept there: beside them the model, its
optimiser, the losses of every example at every θ*, and other programs need room."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def choose_ingest(asked: Ingest | None, schema: Schema, tasks: int) -> Ingest:
    """How the data come in: as asked, or by their size in the memory of the machine that asks.

    The workers of a chain hold every example once between them. On a cluster that has more memory than the machine
    where the chain is started, or on GPUs that have less, say which one is meant: ``data.ingest``. It is part of the
    key of every stage, because the order of the examples differs.

    Args:
        asked: What the experiment file says; ``None`` when it says nothing.
        schema: Columns and sizes of the data.
        tasks: Number of tasks.
    """
    if asked is not None:
        return asked
    return "memory" if bytes_in_memory(schema, tasks) <= SHARE * physical_memory() else "stream"


def bytes_in_memory(schema: Schema, tasks: int) -> int:
    """Bytes of all splits as tensors, over all workers."""
    return sum(schema.rows.values()) * row_bytes(schema, tasks)


def physical_memory() -> int:
    """Bytes of memory of this machine, or of the container that this process runs in."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    return min(memory, int(limit)) if limit.isdigit() else memory
