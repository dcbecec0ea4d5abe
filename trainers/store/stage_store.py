"""Finished stages under their keys: a checkpoint, reference losses and a record."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from trainers.faults import DamagedError
from trainers.records import StageRecord
from trainers.store.serialization import from_bytes, to_bytes
from trainers.store.storage import Storage

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class StoredReferences:
    """Samples at a stage's accepted θ*: per split and task, every example's sum and count.

    Of all splits for the tasks that the stage solved; where it was the last of a run, of the held-out splits for those
    that it protected too.

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
        STORAGE/stages/KEY/references.pt    per-example losses at θ* of its tasks
        STORAGE/stages/KEY/record.json      the record; written last

    Locally a stage is written under another name and then renamed; on object stores, which have no rename, the record
    that is written last makes it visible. What a crash leaves behind is replaced by the next attempt. Tensors are
    loaded with ``weights_only=True``: no code is unpickled.

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows (``s3://…``, ``gs://…``, ``file://…``).
        run_uuid: What the run is found by that keeps stages here; their records tell.

    Raises:
        ValueError: ``storage`` is no such path.
    """

    def __init__(self, storage: str, run_uuid: str = "") -> None:
        self._storage = Storage(storage)
        self._run_uuid = run_uuid

    def read(self, key: str) -> StageRecord | None:
        """The record of a finished stage, or ``None``."""
        path = f"stages/{key}/record.json"
        if not self._storage.exists(path):
            return None
        try:
            return StageRecord.from_json(self._storage.read(path).decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None  # damaged: the stage is trained again

    def state(self, key: str) -> dict[str, Tensor]:
        """Parameters and buffers at the accepted θ*.

        Raises:
            DamagedError: The file is missing or damaged.
        """
        state: dict[str, Tensor] = self._load(f"stages/{key}/model.pt")
        return state

    def references(self, key: str) -> StoredReferences:
        """Per-example losses at θ*.

        Raises:
            DamagedError: The file is missing or damaged.
        """
        raw = self._load(f"stages/{key}/references.pt")
        return StoredReferences(sums=raw["sums"], counts=raw["counts"])

    def write(self, record: StageRecord, state: State, references: StoredReferences) -> None:
        """Keep a finished stage, whole or not at all. An earlier result under the same key stays.

        Raises:
            OSError: The storage cannot be written to.
        """
        if self.read(record.key) is not None:
            return
        files = {
            "model.pt": to_bytes(dict(state)),
            "references.pt": to_bytes({"sums": references.sums, "counts": references.counts}),
            "record.json": replace(record, trained_by=self._run_uuid or record.trained_by).to_json().encode(),
        }
        self._storage.write_folder(f"stages/{record.key}", files)

    def add_references(self, key: str, more: StoredReferences) -> None:
        """Keep samples of further tasks with a finished stage.

        Raises:
            DamagedError: The stage's own are missing or damaged.
            OSError: The storage cannot be written to.
        """
        kept = self.references(key)
        joined = {
            part: {
                split: {**content, **getattr(more, part).get(split, {})}
                for split, content in getattr(kept, part).items()
            }
            for part in ("sums", "counts")
        }
        self._storage.write(f"stages/{key}/references.pt", to_bytes(joined))

    def _load(self, path: str) -> Any:
        try:
            return from_bytes(self._storage.read(path))
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise DamagedError(
                f"{self._storage.name(path)} is missing or damaged ({reason}); delete its folder and run again: the "
                "stage is then trained anew"
            ) from error
