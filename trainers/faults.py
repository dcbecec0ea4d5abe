"""What stops a stage, known alike to every worker; trying again would end the same way."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A stage cannot go on. Every worker raises it at the same step; the last good checkpoint is kept."""


class NumericalError(TrainingError):
    """A loss, a gradient or a multiplier is not a finite number."""


class KeepingError(TrainingError):
    """A stage is trained and cannot be kept: the storage refuses it."""


class DamagedError(TrainingError):
    """A file of a finished stage is missing or damaged."""


class DisagreementError(TrainingError):
    """Workers hold different multipliers or parameters, which ought to be bit-identical."""


class SuspicionError(Exception):
    """Some step since the last look was not finite: the stage goes back and looks at every step.

    On a GPU each look would make the host wait for the device, so steps only raise a flag there.
    """
