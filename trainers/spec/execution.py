"""The section ``execution`` of an experiment file: how stages run and what is recorded of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nmt.trainers.spec.settings import require


@dataclass(frozen=True)
class Execution:
    """How stages run and what is recorded of them.

    Attributes:
        compile: Whether training steps run through ``torch.compile``. Evaluations do not. Compiling takes up to a
            minute at the start of a stage, less where the compiler's cache on disk knows the model.
        checkpoint_every: Optimisation steps between two checkpoints of a stage that is being trained; 0 keeps none, so
            that an interrupted stage starts anew.
        record_every: Optimisation steps between two recorded rows of losses and multipliers.
        evaluations_per_epoch: Evaluations, each of which yields a candidate, per pass over the training split. ``null``
            takes as many, from 1 to 6, as cost about a tenth of the time of the steps
            (:func:`~nmt.trainers.evaluation.pace.evaluations_per_epoch`). More pay on data that over-fit within an
            epoch. Which candidate is accepted depends on them, so they are part of a stage's key.
        certificate_examples: Training examples, over all workers, behind the gradients of a stage's certificate,
            rounded up to whole global batches; 0 leaves the gradients out.

    Raises:
        ValueError: A value is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    compile: bool = False
    checkpoint_every: int = 500
    record_every: int = 1
    evaluations_per_epoch: int | None = None
    certificate_examples: int = 16_384

    def __post_init__(self) -> None:
        require(self, "at least 0", lambda v: v >= 0, "checkpoint_every", "certificate_examples")
        require(self, "at least 1", lambda v: v >= 1, "record_every", "evaluations_per_epoch")
