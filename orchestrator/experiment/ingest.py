"""Whether workers keep the data in memory or stream them."""

from __future__ import annotations

import os
from pathlib import Path

from nmt.trainers.data.examples import row_bytes
from nmt.trainers.data.schema import Schema
from nmt.trainers.spec.chain_spec import Ingest

MEMORY_SHARE = 0.25
"""Largest share of this machine's memory that data may take and still be kept there. The rest is for the model, its
optimiser, the losses of every example at every θ*, and other programs."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def choose_ingest(asked: Ingest | None, schema: Schema, tasks: int) -> Ingest:
    """Choose how workers read the data: as requested, or by its size against this machine's memory.

    The workers of a chain together hold every example once. Set ``data.ingest`` on a cluster that has more memory than
    the machine that starts the chain, or on GPUs that have less. The choice is part of every stage's key, because the
    order of the examples differs.

    Args:
        asked: ``data.ingest`` of the experiment file.
        schema: Columns and sizes of the data.
        tasks: Number of tasks.
    """
    if asked is not None:
        return asked
    return "memory" if bytes_in_memory(schema, tasks) <= MEMORY_SHARE * physical_memory() else "stream"


def bytes_in_memory(schema: Schema, tasks: int) -> int:
    """Return the bytes of all splits as tensors, over all workers."""
    return sum(schema.rows.values()) * row_bytes(schema, tasks)


def physical_memory() -> int:
    """Return the bytes of memory of this machine, or of the container that this process runs in."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    return min(memory, int(limit)) if limit.isdigit() else memory
