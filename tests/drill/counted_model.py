"""A model that logs its training passes: what a process did is known even after ``kill -9``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor, nn

from nmt.experiments.benchmarks.steps.call_log import CallLog, is_training_pass
from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Schema
from nmt.trainers.models.shared_bottom import SharedBottom
from nmt.trainers.spec.task import Task


class CountedModel(SharedBottom):
    """Shared-Bottom that logs its training passes, with dropout, so that the result depends on the random state.

    A training pass can be slowed down while a run is going (:func:`slow_down`), which does not change the result.

    Args:
        schema: Columns of the data set.
        tasks: The chain's tasks.
        passes: Folder of the log.
        embedding_dim: Width of an embedding.
        units: Widths of the trunk and of a tower.
        dropout: Share of the trunk's outputs that a training pass drops.
    """

    def __init__(
        self,
        schema: Schema,
        tasks: Sequence[Task],
        passes: str,
        embedding_dim: int = 8,
        units: Sequence[int] = (32, 16),
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema, tasks, embedding_dim, units[:1], units[1:])
        self._dropout = nn.Dropout(dropout)
        self._pace = pace_file(Path(passes))
        self._log = CallLog(passes)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return task → logit, shape ``(rows,)``."""
        if is_training_pass(self):
            self._log.append(training=True)
            with suppress(FileNotFoundError):
                time.sleep(float(self._pace.read_text()))
        logits = self.towers(self._dropout(self.bottom(self.features(batch))))
        return dict(zip(self._tasks, logits.unbind(0), strict=True))


def pace_file(passes: Path) -> Path:
    """Return the file that holds the seconds that a training pass waits."""
    return passes.with_name(f"{passes.name}.pace")


def slow_down(passes: Path, seconds: float) -> None:
    """Make each training pass from now on wait this long."""
    temporary = passes.with_name(f"{passes.name}.pace.new")
    temporary.write_text(str(seconds))
    temporary.replace(pace_file(passes))
