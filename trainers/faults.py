"""Errors that end a stage on every worker alike; a retry would end the same way."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A stage cannot continue. Every worker raises this at the same step; the last good checkpoint is kept."""


class NumericalError(TrainingError):
    """A loss, a gradient or a multiplier is not a finite number."""


class StorageError(TrainingError):
    """A finished stage cannot be written to the storage."""


class DamagedError(TrainingError):
    """A file of a finished stage is missing or damaged."""


class DisagreementError(TrainingError):
    """Workers hold different multipliers or parameters, which must be bit-identical."""


class NonFiniteStepError(Exception):
    """A step since the last check may not have been finite: the stage goes back and checks every step.

    On a GPU a check makes the host wait for the device, so steps only set a flag there, which is read now and then.
    """
