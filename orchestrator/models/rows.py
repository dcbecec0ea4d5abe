"""Raw rows in files: read batch by batch, and written with what was predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from nmt.orchestrator.errors import RequestError, first_line
from nmt.trainers.store.data_files import DataFile, data_files
from nmt.trainers.store.file_system import locate

ROWS = 65_536
"""Rows of a batch."""

ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".arrow": "ipc", ".feather": "ipc"}


class RowFiles:
    """Rows of a file or of all files in a folder (Parquet, CSV or Arrow), local or on an object store.

    Which files count says :func:`~nmt.trainers.store.data_files.data_files`.

    Args:
        path: The file or folder, or its URI.

    Raises:
        RequestError: There is no such file, or it is of another kind.
    """

    def __init__(self, path: str) -> None:
        try:
            filesystem, root = locate(str(Path(path).expanduser()) if "://" not in path else path)
            files = data_files(filesystem, root, ENDINGS)
            self._rows = pads.dataset(
                [file.path for file in files],
                format=_format_of(files),
                filesystem=filesystem,
                partitioning="hive",
                partition_base_dir=root,
            )
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RequestError(f"{path} cannot be read: {first_line(error)}; {_ALLOWED}") from error
        self._path = path

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._rows.schema.names)

    def batches(self, columns: list[str] | None = None, where: Any = None) -> Iterator[pa.Table]:
        """Yield the rows in the order of the files, so many at a time.

        Args:
            columns: Columns to read; all when absent.
            where: A filter of pyarrow.

        Raises:
            RequestError: A file is damaged.
        """
        try:
            options = {"columns": columns, "filter": where, "batch_size": ROWS}
            yield from (
                pa.Table.from_batches([batch])
                for batch in self._rows.to_batches(**options, batch_readahead=2, fragment_readahead=1)
            )
        except (OSError, pa.ArrowException) as error:
            raise RequestError(f"{self._path} cannot be read to its end: {first_line(error)}") from error

    @property
    def bytes(self) -> int:
        """Size of all files."""
        infos = self._rows.filesystem.get_file_info(self._rows.files)
        return sum(info.size or 0 for info in infos)

    def parts(self) -> Iterator[pads.Fragment]:
        """Yield parts of the rows in the order of the files: row groups of Parquet, else whole files."""
        for file in self._rows.get_fragments():
            yield from file.split_by_row_group() if isinstance(file, pads.ParquetFileFragment) else [file]

    @property
    def schema(self) -> pa.Schema:
        """Columns of all files, those from the names of folders included."""
        return self._rows.schema


class RowWriter:
    """Writes tables to one Parquet or CSV file; the file appears when all are written.

    Args:
        path: The file; its ending says the format.

    Raises:
        RequestError: The ending is unknown.
    """

    def __init__(self, path: str) -> None:
        self._target = Path(path).expanduser()
        kind = ENDINGS.get(self._target.suffix)
        if kind not in ("parquet", "csv"):
            raise RequestError(f"{path} does not say its format; name a file that ends in .parquet or .csv")
        self._kind = kind
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._target.with_name(f".{self._target.name}.part")
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self._kind == "csv":
            table = _flat(table)
        if self._writer is None:
            open_writer = pq.ParquetWriter if self._kind == "parquet" else pacsv.CSVWriter
            self._writer = open_writer(str(self._temporary), table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is None and self._writer is not None:
            self._temporary.replace(self._target)
        else:
            self._temporary.unlink(missing_ok=True)


def _flat(table: pa.Table) -> pa.Table:
    """CSV has no lists: probabilities of classes become one column each."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if not pa.types.is_fixed_size_list(column.type):
            columns[name] = column
            continue
        for place in range(column.type.list_size):
            columns[f"{name}_{place}"] = pc.list_element(column, place)
    return pa.table(columns)


def _format_of(files: Sequence[DataFile]) -> str:
    kinds = {ENDINGS.get(Path(file.path).suffix) for file in files}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise ValueError(f"it has {'files of several formats' if kinds else 'no file of a known format'}")
    return kind


_ALLOWED = "give a file that ends in .parquet, .csv, .arrow or .feather, or a folder of such files of one format"
