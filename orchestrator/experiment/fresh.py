"""A fresh start: stages that the storage has are trained again."""

from __future__ import annotations

from collections.abc import Iterable

from nmt.orchestrator.errors import RunError
from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.store.stage_store import StageStore


class FreshStart:
    """Deletes stages before a command asks for them, each of them once, so that it trains them again.

    Args:
        storage: Folder or URI of the finished stages.
    """

    def __init__(self, storage: str) -> None:
        self._stages = StageStore(storage)
        self._checkpoints = CheckpointStore(storage)
        self._forgotten: set[str] = set()

    def forget(self, keys: Iterable[str]) -> None:
        """Delete stages and their checkpoints, but none that this command has trained itself.

        Raises:
            RunError: The storage cannot be written to.
        """
        for key in keys:
            if key not in self._forgotten:
                try:
                    self._stages.delete(key)
                    self._checkpoints.clear(key)
                except OSError as error:
                    raise RunError(f"stage {key} cannot be deleted for --fresh: {error}") from error
                self._forgotten.add(key)
