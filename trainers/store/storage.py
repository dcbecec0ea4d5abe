"""A folder on any file system of pyarrow, whose files are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow.fs as pafs


class Storage:
    """A root folder, local or on an object store.

    Locally a file is written under another name, flushed to the disk and then renamed. Object stores have no rename
    and need none: an object appears when its upload is complete.

    Args:
        root: An absolute path, or a URI of a file system that pyarrow knows (``s3://…``, ``gs://…``, ``file://…``).

    Raises:
        ValueError: ``root`` is no such path.
    """

    def __init__(self, root: str) -> None:
        try:
            self._filesystem, path = pafs.FileSystem.from_uri(root)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"storage {root!r} is no absolute path and no URI that pyarrow can open ({error}); "
                "give a folder, or a URI such as s3://bucket/folder"
            ) from error
        self._root = path.rstrip("/")
        self.local = isinstance(self._filesystem, pafs.LocalFileSystem)

    def name(self, path: str) -> str:
        """A path of this storage as a user knows it."""
        return self._full(path)

    def exists(self, path: str) -> bool:
        """Whether there is a file (not a folder) of this name."""
        return bool(self._filesystem.get_file_info(self._full(path)).type == pafs.FileType.File)

    def files(self, folder: str) -> list[str]:
        """Names of the files directly below a folder, in order; none when there is no such folder."""
        selector = pafs.FileSelector(self._full(folder), allow_not_found=True)
        found = self._filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == pafs.FileType.File)

    def read(self, path: str) -> bytes:
        """Content of a file.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        with self._filesystem.open_input_stream(self._full(path)) as stream:
            content: bytes = stream.read()
        return content

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all; an earlier one of this name is replaced.

        Raises:
            OSError: It cannot be written; what was there before is as it was.
        """
        full = self._full(path)
        if not self.local:
            self._upload(full, content)
            return
        Path(full).parent.mkdir(parents=True, exist_ok=True)
        temporary = _other_name(Path(full))
        try:
            _write_to_disk(temporary, content)
            temporary.replace(full)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(Path(full).parent)

    def write_folder(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write a folder, replacing what is there under its name.

        Locally it appears with all of its files at once. On an object store they appear one by one, in the order of
        ``files``: readers look for the last one.

        Raises:
            OSError: It cannot be written.
        """
        full = self._full(path)
        if not self.local:
            for name, content in files.items():
                self._upload(f"{full}/{name}", content)
            return
        final = Path(full)
        temporary = _other_name(final)
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
        """Delete a file or folder, if it is there."""
        full = self._full(path)
        match self._filesystem.get_file_info(full).type:
            case pafs.FileType.Directory:
                self._filesystem.delete_dir(full)
            case pafs.FileType.File:
                self._filesystem.delete_file(full)

    def _upload(self, full: str, content: bytes) -> None:
        self._filesystem.create_dir(full.rpartition("/")[0], recursive=True)
        with self._filesystem.open_output_stream(full) as stream:
            stream.write(content)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"


def _other_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """A rename is in the folder, which is flushed by itself; systems that cannot open folders do so on their own."""
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
