"""A folder on any file system of pyarrow, with atomic writes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow.fs as pafs


class Storage:
    """A root folder, local or on an object store, whose files are written whole or not at all.

    A local file is written under a temporary name, flushed to disk and then renamed. Object stores have no rename and
    need none: an object appears when its upload is complete.

    Args:
        root: An absolute path, or a URI of a file system that pyarrow knows (``s3://…``, ``gs://…``, ``file://…``).

    Raises:
        ValueError: ``root`` is neither.
    """

    def __init__(self, root: str) -> None:
        try:
            self._filesystem, path = pafs.FileSystem.from_uri(root)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"storage {root!r} is neither an absolute path nor a URI that pyarrow can open ({error}); "
                "give a folder, or a URI such as s3://bucket/folder"
            ) from error
        self._root = path.rstrip("/")
        self.local = isinstance(self._filesystem, pafs.LocalFileSystem)

    def full_path(self, path: str) -> str:
        """Return a path below the root as a path on the file system."""
        return f"{self._root}/{path}"

    def exists(self, path: str) -> bool:
        """Whether there is a file (not a folder) at ``path``."""
        return bool(self._filesystem.get_file_info(self.full_path(path)).type == pafs.FileType.File)

    def files(self, folder: str) -> list[str]:
        """Return the sorted names of the files directly in a folder; none if the folder does not exist."""
        selector = pafs.FileSelector(self.full_path(folder), allow_not_found=True)
        found = self._filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.File)

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            OSError: The file does not exist or cannot be read.
        """
        with self._filesystem.open_input_stream(self.full_path(path)) as stream:
            content: bytes = stream.read()
        return content

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all, replacing an existing one.

        Raises:
            OSError: The file cannot be written; an existing one is unchanged.
        """
        full = self.full_path(path)
        if not self.local:
            self._upload(full, content)
            return
        Path(full).parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(Path(full))
        try:
            _write_to_disk(temporary, content)
            temporary.replace(full)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(Path(full).parent)

    def write_folder(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write a folder, replacing an existing one.

        A local folder appears with all of its files at once. On an object store the files appear one by one in the
        order of ``files``, so readers must look for the last one.

        Raises:
            OSError: The folder cannot be written.
        """
        full = self.full_path(path)
        if not self.local:
            for name, content in files.items():
                self._upload(f"{full}/{name}", content)
            return
        final = Path(full)
        temporary = _temporary_name(final)
        temporary.mkdir(parents=True)
        try:
            for name, content in files.items():
                _write_to_disk(temporary / name, content)
            _flush_folder(temporary)
            self.delete(path)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _flush_folder(final.parent)

    def delete(self, path: str) -> None:
        """Delete a file or folder if it exists."""
        full = self.full_path(path)
        match self._filesystem.get_file_info(full).type:
            case pafs.FileType.Directory:
                self._filesystem.delete_dir(full)
            case pafs.FileType.File:
                self._filesystem.delete_file(full)

    def _upload(self, full: str, content: bytes) -> None:
        self._filesystem.create_dir(full.rpartition("/")[0], recursive=True)
        with self._filesystem.open_output_stream(full) as stream:
            stream.write(content)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush a folder, so that a rename in it is on disk; a no-op where folders cannot be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
