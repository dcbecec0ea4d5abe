"""Finished stages under their keys: a checkpoint, reference losses and a record, on any file system of pyarrow."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs
import torch
from torch import Tensor

from trainers.records import StageRecord

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class StoredReferences:
    """Reference samples of the tasks that a stage solved: per split and task, every example's sum and count.

    Attributes:
        sums: Split → task → sums, float32, shape ``(examples of the split,)``.
        counts: Split → task → counts, same shape.
    """

    sums: Mapping[str, Mapping[str, Tensor]]
    counts: Mapping[str, Mapping[str, Tensor]]


class StageStore:
    """A folder of stages; a stage exists when its ``record.json`` does.

    ::

        STORAGE/stages/KEY/model.pt         parameters and buffers at the accepted θ*
        STORAGE/stages/KEY/references.pt    per-example losses at θ* of the level's tasks
        STORAGE/stages/KEY/record.json      the record; written last

    Locally a stage is written under another name and then renamed; on object stores, which have no rename, the record
    that is written last makes it visible. Tensors are loaded with ``weights_only=True``: no code is unpickled.

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows (``s3://…``, ``gs://…``, ``file://…``).

    Raises:
        ValueError: ``storage`` is no such path.
    """

    def __init__(self, storage: str) -> None:
        try:
            self._filesystem, root = pafs.FileSystem.from_uri(storage)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"storage {storage!r} is no absolute path and no URI that pyarrow can open ({error}); "
                "give a folder, or a URI such as s3://bucket/folder"
            ) from error
        self._root = root.rstrip("/") + "/stages"

    def read(self, key: str) -> StageRecord | None:
        """The record of a finished stage, or ``None``."""
        path = f"{self._root}/{key}/record.json"
        if self._filesystem.get_file_info(path).type != pafs.FileType.File:
            return None
        with self._filesystem.open_input_stream(path) as stream:
            text = stream.read()
        try:
            return StageRecord.from_json(text.decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None  # cut off while it was written: the stage did not finish

    def state(self, key: str) -> dict[str, Tensor]:
        """Parameters and buffers at the accepted θ*."""
        state: dict[str, Tensor] = self._load(f"{self._root}/{key}/model.pt")
        return state

    def references(self, key: str) -> StoredReferences:
        """Per-example losses at θ* of the tasks that the stage solved."""
        raw = self._load(f"{self._root}/{key}/references.pt")
        return StoredReferences(sums=raw["sums"], counts=raw["counts"])

    def write(self, record: StageRecord, state: State, references: StoredReferences) -> None:
        """Keep a finished stage, whole or not at all. An earlier result under the same key stays."""
        if self.read(record.key) is not None:
            return
        final = f"{self._root}/{record.key}"
        local = isinstance(self._filesystem, pafs.LocalFileSystem)
        folder = f"{self._root}/.{record.key}.{uuid.uuid4().hex[:8]}" if local else final
        self._filesystem.create_dir(folder, recursive=True)
        try:
            self._save(f"{folder}/model.pt", dict(state))
            self._save(f"{folder}/references.pt", {"sums": references.sums, "counts": references.counts})
            with self._filesystem.open_output_stream(f"{folder}/record.json") as stream:
                stream.write(record.to_json().encode())
            if local and self.read(record.key) is None:
                if self._filesystem.get_file_info(final).type != pafs.FileType.NotFound:
                    self._filesystem.delete_dir(final)  # a remnant without a record is no stage
                self._filesystem.move(folder, final)
        finally:
            if local and self._filesystem.get_file_info(folder).type != pafs.FileType.NotFound:
                self._filesystem.delete_dir(folder)

    def _save(self, path: str, content: Any) -> None:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(buffer.getvalue())

    def _load(self, path: str) -> Any:
        with self._filesystem.open_input_stream(path) as stream:
            return torch.load(io.BytesIO(stream.read()), map_location="cpu", weights_only=True)
