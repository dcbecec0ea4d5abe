"""Arrow IPC files, in which columns wait on disk between two steps of a preparation."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa


def write_arrow(path: Path, content: pa.Table | pa.RecordBatch, compression: str | None = None) -> None:
    """Write a table, or a record batch as the file's only batch."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema, options=options) as writer:
        writer.write(content)


def read_arrow(path: Path) -> pa.Table:
    """Read a file into memory."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


def map_arrow(path: Path) -> pa.Table:
    """Map an uncompressed file into memory: the system reads its pages when they are used, and may drop them."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()
