"""The undisturbed run, with which all others are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.drill.content import Content, read_content
from tests.drill.errors import DrillError
from tests.drill.site import TASKS
from tests.drill.trial import Trial


@dataclass(frozen=True)
class Undisturbed:
    """The undisturbed run.

    Attributes:
        content: Its contents of the storage and of MLflow.
        passes: Number of training passes of its first worker.
        warm_up: Number of passes before the first step of a stage.
    """

    content: Content
    passes: int
    warm_up: int


def run_undisturbed(trial: Trial) -> Undisturbed:
    """Run the experiment without a fault.

    Raises:
        DrillError: It failed, or its training passes do not add up.
    """
    trial.start()
    trial.finish()
    content = read_content(trial)
    if problems := [*trial.problems, *content.repeated]:
        raise DrillError("without a fault: " + "; ".join(problems))
    (first,) = (process for process in trial.processes() if process.rank == 0)
    size = trial.site.size
    steps = sum(record["steps"] for record in content.records)
    certificates = sum(math.ceil(record["certificate"]["examples"] / size.batch_size) for record in content.records)
    warm_up, rest = divmod(len(first.times) - steps - certificates, len(TASKS))
    if rest or warm_up < 0:
        raise DrillError(
            f"{len(first.times)} training passes are not the sum of {steps} steps, {certificates} certificate passes "
            "and an equal number before each stage; correct the count in tests.drill.undisturbed"
        )
    return Undisturbed(content, len(first.times), warm_up)
