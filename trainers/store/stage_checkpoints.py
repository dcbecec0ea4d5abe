"""Checkpoints of one stage, written in the background by the first worker."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from nmt.trainers.store.checkpoint_store import CheckpointStore
from nmt.trainers.workers.process_group import broadcast_object, rank, run_on_first_worker

T = TypeVar("T")


class StageCheckpoints:
    """Reads and writes the checkpoints of one stage. Every worker must make the same calls.

    The state is copied immediately and written by a thread, one checkpoint at a time. If a write fails, training
    continues and ``on_failure`` is called.

    Args:
        store: Store of the checkpoints.
        key: Key of the stage.
        on_failure: Called with step and reason, on the first worker and in the training thread.
    """

    def __init__(self, store: CheckpointStore, key: str, on_failure: Callable[[int, str], None]) -> None:
        self._store = store
        self._key = key
        self._on_failure = on_failure
        self._thread: threading.Thread | None = None
        self._failure: tuple[int, str] | None = None

    def latest(self) -> dict[str, Any] | None:
        """Return the state in the last good checkpoint, the same on every worker; ``None`` if there is none."""
        found: list[int | None] = []
        run_on_first_worker(lambda: found.append(self._store.latest(self._key)))
        step = broadcast_object(found[0] if rank() == 0 else None)
        return None if step is None else self._store.read(self._key, step)

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Start to write a checkpoint; only the first worker does."""
        if rank() != 0:
            return
        self.wait()
        content = _copy_to_host(state)
        self._thread = threading.Thread(target=self._write, args=(step, content), name="nmt-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the checkpoint is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            self._on_failure(*self._failure)
            self._failure = None

    def _write(self, step: int, content: Mapping[str, Any]) -> None:
        try:
            self._store.write(self._key, step, content)
        except Exception as error:  # a full disk must not stop the training
            self._failure = (step, f"{type(error).__name__}: {error}")


def _copy_to_host(value: T) -> T:
    """Copy nested tensors and plain values to the host, so that training does not change them during the write."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {key: _copy_to_host(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(_copy_to_host(item) for item in value)
    return copy.copy(value)
