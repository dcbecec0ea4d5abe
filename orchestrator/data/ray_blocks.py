"""Blocks side by side on Ray Data."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from orchestrator.errors import RunError

T = TypeVar("T")
R = TypeVar("R")


def on_ray(step: str, function: Callable[[T], R], items: Sequence[T], *, verbose: bool = False) -> Iterator[R]:
    """Map a pure function over items with Ray Data, one task an item; the results come in the order of the items.

    Only the descriptions of blocks pass through Ray's object store: lines are read, and columns written, by the tasks
    themselves, in files that every node must see.

    Args:
        step: Name of the step, for people.
        function: What to do with each.
        items: Its arguments.
        verbose: Whether Ray Data's log goes to the terminal.

    Raises:
        ValueError: The function raised it.
        RunError: A task failed for another reason.
    """
    import ray.data
    from ray.exceptions import RayError

    # Loading Ray Data sets up its log anew.
    logging.getLogger("ray.data").setLevel(logging.INFO if verbose else logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.verbose_progress = False
    if not items:
        return
    rows = [{"item": pickle.dumps(item)} for item in items]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(_Call(function), num_cpus=1)
    try:
        for row in results.iter_rows():
            kind, found = pickle.loads(row["result"])
            if kind == "error":
                raise ValueError(found)
            yield found
    except RayError as error:
        raise RunError(f"{step}: {error}") from error


class _Call:
    """Calls the function in a task; what the input is at fault for comes back as a message."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = ("done", self._function(pickle.loads(row["item"])))
        except (ValueError, FileNotFoundError) as error:
            result = ("error", str(error))
        return {"result": pickle.dumps(result)}
