"""Finished stages by key: model state, reference losses and record."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from nmt.trainers.faults import DamagedError
from nmt.trainers.records import StageRecord
from nmt.trainers.store.serialization import from_bytes, to_bytes
from nmt.trainers.store.storage import Storage

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class StoredReferences:
    """Per-example losses at a stage's accepted θ*: the sum and the count of sample losses, by split and task.

    They cover all splits for the tasks that the stage solved. The last stage of a run also has the held-out splits for
    the tasks that it protected.

    Attributes:
        sums: Split → task → sums, float32, shape ``(examples of the split,)``.
        counts: Split → task → counts, same shape.
    """

    sums: Mapping[str, Mapping[str, Tensor]]
    counts: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class StoredOutputs:
    """Outputs of a stage's accepted model on every row of the held-out splits, from which metrics are compared.

    They cover the tasks of :class:`StoredReferences` on those splits.

    Attributes:
        outputs: Split → task → outputs, shape ``(rows,)`` or ``(rows, classes)``.
        labels: Split → task → labels, NaN where missing, shape ``(rows,)``.
        lengths: Split → rows of each example; empty where a row is an example.
    """

    outputs: Mapping[str, Mapping[str, Tensor]]
    labels: Mapping[str, Mapping[str, Tensor]]
    lengths: Mapping[str, Tensor]


NO_OUTPUTS = StoredOutputs({}, {}, {})


class StageStore:
    """A folder of finished stages; a stage is finished when it has a ``record.json``.

    ::

        STORAGE/stages/KEY/model.pt         parameters and buffers at the accepted θ*
        STORAGE/stages/KEY/references.pt    per-example losses at θ* of its tasks
        STORAGE/stages/KEY/outputs.pt       outputs at θ* on the held-out splits
        STORAGE/stages/KEY/record.json      the record; written last

    On a local file system a stage is written under a temporary name and then renamed. Object stores have no rename;
    there the record, written last, completes the stage. The next attempt replaces what a crash left behind. Tensors are
    loaded with ``weights_only=True``, which runs no code.

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows (``s3://…``, ``gs://…``, ``file://…``).
        run_uuid: UUID of the run that writes stages here; their records name it in ``trained_by``.

    Raises:
        ValueError: ``storage`` is neither.
    """

    def __init__(self, storage: str, run_uuid: str = "") -> None:
        self._storage = Storage(storage)
        self._run_uuid = run_uuid

    def read(self, key: str) -> StageRecord | None:
        """Return the record of a finished stage; ``None`` if there is no such stage."""
        path = f"stages/{key}/record.json"
        if not self._storage.exists(path):
            return None
        try:
            return StageRecord.from_json(self._storage.read(path).decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None  # damaged: train the stage again

    def state(self, key: str) -> dict[str, Tensor]:
        """Return parameters and buffers at the accepted θ*.

        Raises:
            DamagedError: The file is missing or damaged.
        """
        state: dict[str, Tensor] = self._load(f"stages/{key}/model.pt")
        return state

    def references(self, key: str) -> StoredReferences:
        """Return the per-example losses at θ*.

        Raises:
            DamagedError: The file is missing or damaged.
        """
        raw = self._load(f"stages/{key}/references.pt")
        return StoredReferences(sums=raw["sums"], counts=raw["counts"])

    def outputs(self, key: str) -> StoredOutputs:
        """Return the outputs at θ* on the held-out splits.

        Raises:
            DamagedError: The file is missing or damaged.
        """
        return StoredOutputs(**self._load(f"stages/{key}/outputs.pt"))

    def write(
        self, record: StageRecord, state: State, references: StoredReferences, outputs: StoredOutputs = NO_OUTPUTS
    ) -> None:
        """Write a finished stage, whole or not at all. An existing stage with the same key is kept.

        Raises:
            OSError: The storage cannot be written to.
        """
        if self.read(record.key) is not None:
            return
        files = {
            "model.pt": to_bytes(dict(state)),
            "references.pt": to_bytes(_to_dict(references)),
            "outputs.pt": to_bytes(_to_dict(outputs)),
            "record.json": replace(record, trained_by=self._run_uuid or record.trained_by).to_json().encode(),
        }
        self._storage.write_folder(f"stages/{record.key}", files)

    def delete(self, key: str) -> None:
        """Delete a stage, if there is one.

        Raises:
            OSError: The storage cannot be written to.
        """
        self._storage.delete(f"stages/{key}/record.json")  # first: what has no record is no stage
        self._storage.delete(f"stages/{key}")

    def add_references(self, key: str, more: StoredReferences, outputs: StoredOutputs) -> None:
        """Add the per-example losses and the outputs of further tasks to a finished stage.

        Raises:
            DamagedError: The stage's own references are missing or damaged.
            OSError: The storage cannot be written to.
        """
        joined = _join(_to_dict(self.outputs(key)), _to_dict(outputs), ("outputs", "labels"))
        self._storage.write(f"stages/{key}/outputs.pt", to_bytes(joined))
        joined = _join(_to_dict(self.references(key)), _to_dict(more), ("sums", "counts"))
        self._storage.write(f"stages/{key}/references.pt", to_bytes(joined))

    def _load(self, path: str) -> Any:
        try:
            return from_bytes(self._storage.read(path))
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise DamagedError(
                f"{self._storage.full_path(path)} is missing or damaged ({reason}); delete its folder and run again: "
                "the stage is then trained again"
            ) from error


def _to_dict(stored: StoredReferences | StoredOutputs) -> dict[str, Any]:
    return {field.name: getattr(stored, field.name) for field in fields(stored)}


def _join(kept: dict[str, Any], more: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Add the tasks of ``more`` to each split of ``kept``."""
    joined = {
        part: {split: {**tasks, **more[part].get(split, {})} for split, tasks in kept[part].items()} for part in parts
    }
    return {**kept, **joined}
