"""A model that logs its calls, which gives the time of steps inside any worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nmt.experiments.benchmarks.steps.call_log import CallLog, is_training_pass
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.registry import MODELS, resolve
from nmt.trainers.spec.task import Task


class TimedModel(nn.Module):
    """A registered model that logs its calls.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        base: Name of the model.
        calls: Folder of the log.
        options: Options of the model.
    """

    def __init__(
        self, schema: Schema, tasks: Sequence[Task], base: str, calls: str, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model = resolve("model", base, MODELS)(schema, tasks, **(options or {}))
        self._log = CallLog(calls)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Call the model."""
        self._log.append(is_training_pass(self))
        outputs: dict[str, Tensor] = self.model(batch)
        return outputs
