"""Raw tables: columns too long for their type, and the memory of encoded columns."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import table
from nmt.experiments.data.table import raw_table
from nmt.experiments.data.table.raw_table import MemoryTable, ParquetTable
from nmt.trainers.data import prepared

ROWS = 20_000
COLUMNS = 20


@pytest.mark.parametrize(
    ("kind", "large"),
    [
        (pa.string(), pa.large_string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.large_string()),
        (pa.binary(), pa.large_binary()),
        (pa.int32(), pa.int32()),
    ],
    ids=str,
)
def test_a_column_too_long_for_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType, large: pa.DataType
) -> None:
    """More than 2 GB of text does not fit in an array of plain strings."""
    monkeypatch.setattr(raw_table, "MOST_BYTES", 20)
    values = list(range(100, 130)) if pa.types.is_integer(kind) else [f"token {number}" for number in range(30)]
    content = pa.table({"c": pa.array(values).cast(kind)})
    for part in range(2):
        pq.write_table(content.slice(15 * part, 15), tmp_path / f"{part}.parquet")
    for source in (MemoryTable(content), ParquetTable(str(tmp_path))):
        column = source.column("c")
        assert column.type == large
        assert column.to_pylist() == content["c"].to_pylist()


def test_encoded_columns_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds no encoded column while shards are written."""
    values = np.arange(ROWS, dtype=np.float64)
    content: dict[str, Any] = {f"x{column}": values for column in range(COLUMNS)}
    content |= {"y": values % 2, "split": ["train", "valid", "test", "train"] * (ROWS // 4)}
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table(content), file)
    held = []
    write = prepared.write

    def watched(folder: Path, *arguments: Any) -> Any:
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before)
        assert list(folder.parent.glob(f".{folder.name}.*/*.arrow"))
        return write(folder, *arguments)

    monkeypatch.setattr(prepared, "write", watched)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        names = [f"x{column}" for column in range(COLUMNS)]
        folder = table.prepare(str(file), tmp_path / "cache", numeric=names, labels={"y": 2})
    finally:
        tracemalloc.stop()
    assert held[0] < 4 * ROWS * (COLUMNS + 1) / 4
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]
    written = pq.read_table(folder / "train")
    assert written["x7"].to_pylist() == [value for value in range(ROWS) if value % 4 in (0, 3)]
