"""File systems of data sets: local folders, or URIs that pyarrow knows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs


def locate(folder: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a folder, and the folder's path on it.

    Args:
        folder: A path (a relative one starts at the current folder) or a URI (``s3://…``, ``gs://…``, ``file://…``).

    Raises:
        ValueError: pyarrow cannot open the URI.
    """
    if "://" not in folder:
        return pafs.LocalFileSystem(), str(Path(folder).absolute())
    try:
        filesystem, path = pafs.FileSystem.from_uri(folder)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder!r} is not a URI that pyarrow can open ({error}); give a folder, or a URI such as s3://bucket/folder"
        ) from error
    return filesystem, path.rstrip("/")


def is_file(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether there is a file at ``path``."""
    return filesystem.get_file_info(path).type == pafs.FileType.File  # type: ignore[no-any-return]


def parquet_files(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """Return the Parquet files directly in a folder, sorted by name; none if the folder does not exist."""
    found = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted(info.path for info in found if info.type == pafs.FileType.File and info.path.endswith(".parquet"))
