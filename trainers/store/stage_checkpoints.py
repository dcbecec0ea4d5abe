"""The checkpoints of one stage, written in the background by the first worker."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from trainers.store.checkpoint_store import CheckpointStore
from trainers.workers.process_group import broadcast_object, rank, run_on_first_worker

T = TypeVar("T")


class StageCheckpoints:
    """Reads and writes the checkpoints of one stage. Every worker makes the same calls.

    A checkpoint is copied at once and written by a thread, one at a time. One that cannot be written costs nothing but
    itself: training goes on, and ``failed`` is told.

    Args:
        store: Where checkpoints are kept.
        key: Key of the stage.
        failed: Called on the first worker with step and reason, by the thread that trains.
    """

    def __init__(self, store: CheckpointStore, key: str, failed: Callable[[int, str], None]) -> None:
        self._store = store
        self._key = key
        self._failed = failed
        self._thread: threading.Thread | None = None
        self._failure: tuple[int, str] | None = None

    def latest(self) -> dict[str, Any] | None:
        """The last good checkpoint, the same on every worker; ``None`` when there is none."""
        found: list[int | None] = []
        run_on_first_worker(lambda: found.append(self._store.latest(self._key)))
        step = broadcast_object(found[0] if rank() == 0 else None)
        return None if step is None else self._store.read(self._key, step)

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep a state; on workers other than the first, nothing is done."""
        if rank() != 0:
            return
        self.wait()
        content = _on_host(state)
        self._thread = threading.Thread(target=self._write, args=(step, content), name="nmt-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the checkpoint that is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            self._failed(*self._failure)
            self._failure = None

    def _write(self, step: int, content: Mapping[str, Any]) -> None:
        try:
            self._store.write(self._key, step, content)
        except Exception as error:  # a full disk must not end the training
            self._failure = (step, f"{type(error).__name__}: {error}")


def _on_host(value: T) -> T:
    """A copy of nested tensors and plain values that the training does not change under the writer's hands."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {key: _on_host(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(_on_host(item) for item in value)
    return copy.copy(value)
