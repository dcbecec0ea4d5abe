"""Checkpoints of unfinished stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nmt.trainers.store.serialization import from_bytes, to_bytes
from nmt.trainers.store.storage import Storage

MAX_CHECKPOINTS = 2
"""Most checkpoints kept per stage; each also holds the best feasible candidate."""

FORMAT = 1
"""Version of the checkpoint format; checkpoints of another version are ignored."""


class CheckpointStore:
    """A folder of checkpoints per stage. A checkpoint is good if it has a manifest whose hash matches its content.

    ::

        STORAGE/checkpoints/KEY/step-00000400.pt      the state that the stage resumes from
        STORAGE/checkpoints/KEY/step-00000400.json    its size and hash; written last

    Args:
        storage: An absolute path, or a URI of a file system that pyarrow knows.

    Raises:
        ValueError: ``storage`` is neither.
    """

    def __init__(self, storage: str) -> None:
        self._storage = Storage(storage)

    def write(self, key: str, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all, and delete all but the last :data:`MAX_CHECKPOINTS`.

        Args:
            key: Key of the stage.
            step: Steps of the stage so far.
            state: Tensors and plain values.

        Raises:
            OSError: The storage cannot be written to; earlier checkpoints are unchanged.
        """
        content = to_bytes(dict(state))
        name = f"checkpoints/{key}/step-{step:08d}"
        manifest = {"format": FORMAT, "step": step, "bytes": len(content), "sha256": _hash(content)}
        self._storage.write(f"{name}.pt", content)
        self._storage.write(f"{name}.json", json.dumps(manifest).encode())
        steps = self._steps(key)
        for old in steps[: steps.index(step)][: 1 - MAX_CHECKPOINTS or None]:
            self._delete(key, old)

    def latest(self, key: str) -> int | None:
        """Return the step of a stage's last good checkpoint, ``None`` if there is none.

        Checkpoints that are damaged or of another format are skipped.
        """
        return next((step for step in reversed(self._steps(key)) if self._content(key, step) is not None), None)

    def read(self, key: str, step: int) -> dict[str, Any]:
        """Return the state in a checkpoint that :meth:`latest` found.

        Raises:
            OSError: The checkpoint is missing or damaged.
        """
        content = self._content(key, step)
        if content is None:
            raise OSError(f"checkpoint {step} of stage {key} is missing or damaged; run again")
        state: dict[str, Any] = from_bytes(content)
        return state

    def clear(self, key: str) -> None:
        """Delete all checkpoints of a stage, once it has its record."""
        self._storage.delete(f"checkpoints/{key}")

    def _steps(self, key: str) -> list[int]:
        names = self._storage.files(f"checkpoints/{key}")
        return [int(name[5:-5]) for name in names if name.startswith("step-") and name.endswith(".json")]

    def _content(self, key: str, step: int) -> bytes | None:
        name = f"checkpoints/{key}/step-{step:08d}"
        try:
            manifest = json.loads(self._storage.read(f"{name}.json"))
            content = self._storage.read(f"{name}.pt")
        except (OSError, ValueError):
            return None
        good = manifest.get("format") == FORMAT and manifest.get("sha256") == _hash(content)
        return content if good else None

    def _delete(self, key: str, step: int) -> None:
        # The manifest first: without one a checkpoint does not count.
        for suffix in ("json", "pt"):
            self._storage.delete(f"checkpoints/{key}/step-{step:08d}.{suffix}")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
