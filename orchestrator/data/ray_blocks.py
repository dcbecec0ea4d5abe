"""Maps blocks in parallel with Ray Data."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from nmt.orchestrator.errors import RunError

T = TypeVar("T")
R = TypeVar("R")


def map_on_ray(step: str, function: Callable[[T], R], items: Sequence[T], *, verbose: bool = False) -> Iterator[R]:
    """Map a pure function over items with Ray Data, one task per item; the results have the order of the items.

    Only descriptions of blocks pass through Ray's object store: the tasks themselves read lines and write columns, in
    files to which every node must have access.

    Args:
        step: Name of the step, for messages.
        function: The function.
        items: Its arguments.
        verbose: Whether to print Ray Data's log.

    Raises:
        ValueError: The function raised it.
        RunError: A task failed for another reason.
    """
    import ray.data
    from ray.exceptions import RayError

    # Importing Ray Data configures its logger again.
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
    """Calls the function in a task, and returns an error of the input as a message."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = ("done", self._function(pickle.loads(row["item"])))
        except (ValueError, FileNotFoundError) as error:
            result = ("error", str(error))
        return {"result": pickle.dumps(result)}
