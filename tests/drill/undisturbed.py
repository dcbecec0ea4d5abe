"""The run that all others are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.drill.content import Content, content_of
from tests.drill.errors import DrillError
from tests.drill.site import TASKS
from tests.drill.trial import Trial


@dataclass(frozen=True)
class Undisturbed:
    """The run that all others are compared with.

    Attributes:
        content: What it left.
        passes: Training passes of its first worker.
        warm_up: Those before the first step of a stage.
    """

    content: Content
    passes: int
    warm_up: int


def undisturbed(trial: Trial) -> Undisturbed:
    """Run the experiment without any fault.

    Raises:
        DrillError: It did not end well, or its training passes do not add up.
    """
    trial.start()
    trial.finish()
    content = content_of(trial)
    if problems := [*trial.problems, *content.repeated]:
        raise DrillError("without any fault: " + "; ".join(problems))
    (first,) = (process for process in trial.processes() if process.rank == 0)
    size = trial.site.size
    steps = sum(record["steps"] for record in content.records)
    certificates = sum(math.ceil(record["certificate"]["examples"] / size.batch_size) for record in content.records)
    warm_up, rest = divmod(len(first.times) - steps - certificates, len(TASKS))
    if rest or warm_up < 0:
        raise DrillError(
            f"{len(first.times)} training passes are not {steps} steps, {certificates} of the certificates and the "
            "same number before each stage: what the model counts is not understood"
        )
    return Undisturbed(content, len(first.times), warm_up)
