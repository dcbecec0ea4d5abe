"""Worker processes on this machine, joined by a gloo process group."""

from __future__ import annotations

import io
import multiprocessing
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

MOST = 3
SECONDS = 120


class Workers:
    """A few processes that run one function after another: starting one, and importing torch in it, takes seconds.

    Args:
        folder: A folder for the meeting points of the process groups.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._meetings = 0
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []

    def run(self, workers: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Run ``function(rank, workers, *arguments)`` on each of ``workers``, in a fresh process group.

        Args:
            workers: Number of workers, at most ``MOST``.
            function: A function of a module; returns tensors and plain values.
            arguments: Plain values.

        Returns:
            What each worker returned, by rank.
        """
        if not self._processes:
            self._start()
        self._meetings += 1
        for rank in range(workers):
            self._pipes[rank].send((function, rank, workers, str(self._folder / str(self._meetings)), arguments))
        waiting = set(self._pipes[:workers])
        answers: dict[Connection, bytes] = {}
        while waiting:
            ready = wait(list(waiting), timeout=SECONDS)
            if not ready:
                self.stop()
                raise TimeoutError(f"a worker is still busy after {SECONDS} seconds")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    failed, answers[pipe] = pipe.recv()
                except EOFError:
                    failed, answers[pipe] = True, b"a worker died"
                if failed:
                    self.stop()  # the others wait for a collective that never comes
                    raise RuntimeError(answers[pipe].decode())
                waiting.remove(pipe)
        return [torch.load(io.BytesIO(answers[pipe]), weights_only=True) for pipe in self._pipes[:workers]]

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for _ in range(MOST):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there,), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._pipes.append(here)


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            function, rank, workers, meeting, arguments = pipe.recv()
        except EOFError:
            return
        try:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{meeting}",
                rank=rank,
                world_size=workers,
                timeout=timedelta(seconds=SECONDS),
            )
            torch.manual_seed(rank)
            buffer = io.BytesIO()
            torch.save(function(rank, workers, *arguments), buffer)
            dist.destroy_process_group()
            pipe.send((False, buffer.getvalue()))
        except BaseException:
            pipe.send((True, f"worker {rank} of {workers}:\n{traceback.format_exc()}".encode()))
            return
